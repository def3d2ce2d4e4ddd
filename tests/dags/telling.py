"""Runs in Airflow's environment: calls what tells of failures and of the held schedule, outside of any run."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "airflow_dags"))

from vizrec_dags import alerts, hold

VARIABLE = "AIRFLOW_VAR_VIZREC_HOLD_SCHEDULE"


def context(kind: str = "scheduled", **more: Any) -> dict[str, Any]:
    """That of task `ingest`."""
    return {
        "dag": SimpleNamespace(dag_id="daily_batch"),
        "run_id": f"{kind}__1",
        "dag_run": SimpleNamespace(run_type=kind),
        "ti": SimpleNamespace(task_id="ingest", log_url="http://airflow/log"),
        "params": {},
        "data_interval_start": datetime(2026, 1, 31, 2, tzinfo=UTC),
        **more,
    }


def over_the_limit() -> None:
    """A run that was over its limit, and one in which a task has failed, whose task has told of it."""
    for reason in ("timed_out", "task_failure"):
        alerts.tell_of_time_out(
            {"dag": SimpleNamespace(dag_id="daily_batch"), "run_id": "manual__1", "reason": reason}
        )


def failed() -> None:
    """Tasks that failed with a long message, without a message, and without an exception."""
    lines = "\n".join(f"line {at} of the driver" for at in range(20))
    long = f"Cannot execute: {'word ' * 1000}. Error code is: 1.\nLast spark-submit output:\n{lines}"
    for error in (AirflowException(long), KeyError("images_version"), TimeoutError(), None):
        alerts.tell_of_task(context(exception=error))


def held() -> None:
    """Runs of each type, under each text of the Variable; prints what becomes of them."""
    for said in (None, "true", "True", "false", "no", ""):
        os.environ.pop(VARIABLE, None)
        if said is not None:
            os.environ[VARIABLE] = said
        for kind in ("scheduled", "backfill", "manual"):
            try:
                hold.skip_if_held(context(kind))
                became = "runs"
            except AirflowSkipException:
                became = "skipped"
            except AirflowFailException as error:
                became = f"failed: {error}"
            print("held", said, kind, became, sep="|")


if __name__ == "__main__":
    {"over_the_limit": over_the_limit, "failed": failed, "held": held}[sys.argv[1]]()
    print("done")
