"""Publishing: an asset event that names the version of the table, for whoever waits for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Asset, task
from airflow.sdk.exceptions import AirflowFailException

from vizrec_dags.days import day_of
from vizrec_dags.settings import SHORT, embed_settings


def publish(
    asset: Asset,
    table: str,
    record: Any,
    days: Any = None,
    settings: bool = False,
    task_id: str | None = None,
) -> Any:
    """A task that emits an event of `asset` for the version of `table` in `record`.

    record: what a job's task returned; of several, the one with the highest version is told. The event's extra holds
    `table`, `version`, `rows`, `run_id` and `days` (those of `days`, or the run's own): a reader that loads just this
    version sees what was judged, whatever is written later. settings: whether it also holds `settings`, those of
    section `embed` in this run, for the DAG that embeds what this one has loaded.
    """

    @task(task_id=task_id or f"publish_{table}", outlets=[asset], execution_timeout=SHORT)
    def emit(
        record: Mapping[str, Any] | Sequence[Mapping[str, Any]], days: list[str] | None, **context: Any
    ) -> dict[str, Any]:
        records = [record] if isinstance(record, Mapping) else list(record)
        for one in records:
            if table not in one["tables"]:
                raise AirflowFailException(f"Run {one['run_id']} has not committed table {table}.")
        last = max(records, key=lambda one: int(one["tables"][table]["version"]))
        extra = {
            "table": table,
            "version": last["tables"][table]["version"],
            "rows": last["tables"][table]["rows"],
            "run_id": last["run_id"],
            "days": days or [day_of(context)],
            **({"settings": embed_settings(context)} if settings else {}),
        }
        context["outlet_events"][asset].extra = extra
        return extra

    return emit(record, days)
