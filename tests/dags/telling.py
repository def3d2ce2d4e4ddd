"""Runs in Airflow's environment: calls the alerts' functions with an address that the environment names."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "airflow_dags"))

from vizrec_dags import alerts


def main() -> None:
    """A run that was over its limit, and one in which a task has failed, whose task has told of it."""
    for reason in ("timed_out", "task_failure"):
        alerts.tell_of_time_out(
            {"dag": SimpleNamespace(dag_id="daily_batch"), "run_id": "manual__1", "reason": reason}
        )
    print("done")


if __name__ == "__main__":
    main()
