"""Runs in Airflow's environment: parses the DAGs as Airflow does, renders them, and prints what it found as JSON."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow.dag_processing.dagbag import BundleDagBag
from airflow.sdk import BaseSensorOperator, Variable
from airflow.sdk.definitions.mappedoperator import MappedOperator

HEAVY = ("pyspark", "tensorflow", "keras", "pandas", "numpy", "vizrec_spark", "delta")


class Variables:
    """`var.value` of a template, from the environment."""

    def __getattr__(self, name: str) -> str:
        return str(Variable.get(name))

    def get(self, name: str, default: str) -> str:
        return str(Variable.get(name, default=default))


class OneTask:
    """`ti` of a template: the second of a mapped task's, in a run where `split` has split version 7 of the log."""

    map_index = 1

    def xcom_pull(self, task_ids: str) -> dict[str, Any]:
        return {"split": {"metrics": {"interactions_version": 7.0}}}[task_ids]


def commands(bag: BundleDagBag, params: dict[str, Any]) -> dict[str, list[str]]:
    """By DAG and task, the command of spark-submit as its hook builds it, for a run with `params`."""
    from vizrec_dags.operators import VizrecJobOperator

    built = {}
    for dag in bag.dags.values():
        run = SimpleNamespace(run_after=datetime(2026, 2, 1, tzinfo=UTC), conf=params)
        known = {name: value for name, value in params.items() if name in dag.params}
        context: dict[str, Any] = {
            "dag": dag,
            "dag_run": run,
            "ti": OneTask(),
            "run_id": "scheduled__2026-02-01T02:00:00+00:00",
            "data_interval_start": datetime(2026, 1, 31, 2, tzinfo=UTC),
            "params": {**dag.params.dump(), **known},
            "var": {"value": Variables()},
            **(dag.user_defined_macros or {}),
        }
        for task in dag.tasks:
            if isinstance(task, MappedOperator):
                task = task.unmap({"run_settings": params["mapped"]})
            if isinstance(task, VizrecJobOperator):
                task.render_template_fields(context)
                task.application_args = task.arguments(context)
                built[f"{dag.dag_id}.{task.task_id}"] = task._get_hook()._build_spark_submit_command(
                    task.application
                )
    return built


def facts(bag: BundleDagBag) -> dict[str, Any]:
    """Errors, graphs and settings."""
    from vizrec_dags import operators, settings

    return {
        "errors": bag.import_errors,
        "final": sorted(operators._FINAL),
        "pattern": settings.COMMON_PARAMS["settings"].schema["items"]["pattern"],
        "graphs": {
            dag.dag_id: {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks}
            for dag in bag.dags.values()
        },
        "dags": {
            dag.dag_id: {
                "timeout": dag.dagrun_timeout.total_seconds(),
                "max_active_runs": dag.max_active_runs,
                "catchup": dag.catchup,
                "schedule": repr(dag.schedule),
                "cron": getattr(dag.timetable, "_expression", getattr(dag.timetable, "expression", None)),
                "told": [tell.__name__ for tell in _listed(dag.on_failure_callback)],
            }
            for dag in bag.dags.values()
        },
        "tasks": {
            f"{dag.dag_id}.{task.task_id}": {
                "type": task.task_type,
                "mapped": isinstance(task, MappedOperator),
                "pool": task.pool,
                "retries": task.retries,
                "backoff": bool(task.retry_exponential_backoff),
                "timeout": task.execution_timeout.total_seconds() if task.execution_timeout else None,
                "longest_pause": task.max_retry_delay.total_seconds() if task.max_retry_delay else None,
                "waits": task.timeout if isinstance(task, BaseSensorOperator) else None,
                "outlets": [asset.name for asset in task.outlets],
                "told": [tell.__name__ for tell in _listed(task.on_failure_callback)],
                "before": getattr(getattr(task, "before", None), "__name__", None),
            }
            for dag in bag.dags.values()
            for task in dag.tasks
        },
    }


def _listed(callbacks: Any) -> list[Any]:
    return callbacks if isinstance(callbacks, list) else [callbacks] if callbacks else []


def main() -> None:
    folder = Path(sys.argv[1])
    bag = BundleDagBag(str(folder), bundle_path=folder, bundle_name="dags")
    found = {**facts(bag), "heavy": [name for name in HEAVY if name in sys.modules]}
    print(json.dumps({**found, "commands": commands(bag, json.loads(sys.argv[2]))}))


if __name__ == "__main__":
    main()
