"""Publishing: an asset event that names the version of the table, for whoever waits for it."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, task
from airflow.sdk.exceptions import AirflowFailException

from vizrec_dags.settings import day_of


def publish(asset: Asset, table: str, record: Any, days: Any = None, task_id: str | None = None) -> Any:
    """A task that emits an event of `asset` for the version of `table` in `record` (what a job's task returned).

    The event's extra holds `table`, `version`, `rows`, `run_id` and `days` (those of `days`, or the run's own): a
    reader that loads just this version sees what was judged, whatever is written later.
    """

    @task(task_id=task_id or f"publish_{table}", outlets=[asset])
    def emit(record: dict[str, Any], days: list[str] | None, **context: Any) -> dict[str, Any]:
        left = record["tables"].get(table)
        if left is None:
            raise AirflowFailException(f"Run {record['run_id']} has not committed table {table}.")
        extra = {
            "table": table,
            "version": left["version"],
            "rows": left["rows"],
            "run_id": record["run_id"],
            "days": days or [day_of(context)],
        }
        context["outlet_events"][asset].extra = extra
        return extra

    return emit(record, days)
