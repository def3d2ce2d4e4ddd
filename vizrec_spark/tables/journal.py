"""Restores that are safe to kill: written down first, done table by table, and finished by whoever comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from vizrec_spark.errors import TableError
from vizrec_spark.tables.history import Commit, history
from vizrec_spark.tables.rollback import Plan, Step
from vizrec_spark.tables.schemas import ALL_TABLES, RESTORES
from vizrec_spark.tables.store import TableStore, Written

_TRIES = 5


@dataclass(frozen=True)
class Restored:
    """A table as it stands again, and the runs whose late writes to it went as well."""

    written: Written
    overruled: tuple[str, ...]


def begun(tables: TableStore) -> tuple[str, Plan] | None:
    """The restore that is not finished: its run id and its plan; None where there is none."""
    run_id = tables.restore_under_way()
    if run_id is None:
        return None
    planned = (F.col("run_id") == run_id) & (F.col("event") == "planned")
    row = tables.read(RESTORES).where(planned).collect()[0]
    by_name = {table.name: table for table in ALL_TABLES}
    steps = tuple(
        Step(by_name[t.table], t.from_version, t.to_version, t.rows_before, t.rows_after) for t in row.tables
    )
    return run_id, Plan(row.asked, tuple((u.run_id, u.stage) for u in row.takes_back), steps)


def begin(tables: TableStore, spark: SparkSession, plan: Plan) -> None:
    """Writes the plan down: from here on no other run starts or writes.

    Raises: TableError when a table was written to since the plan was made, or another restore was quicker, so that this
    plan counts for nothing; then nothing was changed.
    """
    run_id = tables.stamp.run_id
    _tell(tables, spark, plan, "planned")
    quicker = tables.restore_under_way()
    if quicker != run_id:
        raise TableError(f"Restore {quicker} of the same tables was begun first: let it end, then look anew.")
    _require_unchanged(tables, spark, plan)


def carry_out(tables: TableStore, spark: SparkSession, plan: Plan) -> list[Restored]:
    """Does what is left of the plan; a table that stands restored is not restored again.

    A run that was about to commit when the plan was written may still do so. It cannot write more, nor record that it
    came to its end, so it counts as one that was killed: what it wrote to these tables goes as well.
    Raises: TableError as `TableStore.restore`, and `begin` where no table was restored yet.
    """
    logs = {step.table.name: _since(tables, step) for step in plan.steps}
    if not any(_is_ours(c, tables) for log in logs.values() for c in log):
        _require_unchanged(tables, spark, plan)
    return [_restored(tables, step) for step in plan.steps]


def _restored(tables: TableStore, step: Step) -> Restored:
    written = tables.unchanged(step.table)
    for _ in range(_TRIES):
        if _stands(tables, step):
            late = (c.run_id for c in _since(tables, step) if c.writes and not _is_ours(c, tables))
            return Restored(written, tuple(dict.fromkeys(late)))
        written = tables.restore(step.table, step.then)
    raise TableError(
        f"Table {step.table.name} at {tables.location(step.table)} is written to by another program while it is "
        "restored: stop that, then `vizrec restore --resume --yes`."
    )


def finish(tables: TableStore, spark: SparkSession, plan: Plan) -> None:
    """Writes down that it is done: runs may start again."""
    _tell(tables, spark, plan, "done")


def _tell(tables: TableStore, spark: SparkSession, plan: Plan, event: str) -> None:
    steps = [(s.table.name, s.now, s.then, s.rows_now, s.rows_then) for s in plan.steps]
    row = (tables.stamp.run_id, event, datetime.now(UTC), plan.asked, list(plan.takes_back), steps)
    tables.append(RESTORES, spark.createDataFrame([row], RESTORES.schema), {"event": event})


def _require_unchanged(tables: TableStore, spark: SparkSession, plan: Plan) -> None:
    for step in plan.steps:
        since = _since(tables, step)
        if since:
            who = since[-1].run_id or f"a {since[-1].operation} by hand"
            _tell(tables, spark, plan, "abandoned")
            raise TableError(
                f"Table {step.table.name} was written by {who} since this restore was planned (version "
                f"{since[-1].version}). Nothing was changed: look at the plan anew."
            )


def _since(tables: TableStore, step: Step) -> Sequence[Commit]:
    """Commits after the version that the plan starts from, newest first."""
    return history(tables, step.table, after=step.now)


def _is_ours(commit: Commit, tables: TableStore) -> bool:
    return commit.restored_to is not None and commit.run_id == tables.stamp.run_id


def _stands(tables: TableStore, step: Step) -> bool:
    """Whether our restore is the last that happened to the table's rows.

    One that follows a late write may have begun before it, and not have seen rows that were only added: it counts when
    it follows the planned version, or itself.
    """
    since = [c for c in _since(tables, step) if c.writes]
    mine = [_is_ours(c, tables) and c.restored_to == step.then for c in since[:2]]
    return bool(mine) and all(mine)
