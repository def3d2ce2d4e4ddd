"""Runs in Airflow's environment: parses one DAG file, the first of its process; prints seconds and errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from airflow.dag_processing.dagbag import BundleDagBag


def main() -> None:
    file = Path(sys.argv[1])
    bag = BundleDagBag(str(file), bundle_path=file.parent, bundle_name="dags")
    [stat] = bag.dagbag_stats
    print(
        json.dumps(
            {"seconds": stat.duration.total_seconds(), "dags": sorted(bag.dags), "errors": bag.import_errors}
        )
    )


if __name__ == "__main__":
    main()
