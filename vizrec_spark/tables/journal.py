"""Restores that are safe to kill: written down first, done table by table, and finished by whoever comes next."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from vizrec_spark.errors import TableError, WriteConflict
from vizrec_spark.tables.history import Commit, history, in_effect
from vizrec_spark.tables.rollback import Plan, Step, plan_anew
from vizrec_spark.tables.schemas import ALL_TABLES, RESTORES, RUNS
from vizrec_spark.tables.stamp import Written
from vizrec_spark.tables.store import TableStore

_TRIES = 5


@dataclass(frozen=True)
class Restored:
    """A table as it stands again, and in words whose late writes to it went as well."""

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
    takes_back, read_since = (
        tuple((u.run_id, u.stage) for u in found) for found in (row.takes_back, row.read_since)
    )
    return run_id, Plan(row.asked, takes_back, steps, read_since)


def begin(tables: TableStore, spark: SparkSession, plan: Plan) -> None:
    """Writes the plan down: from here on no other run starts or writes.

    Raises: TableError when the run id is taken, or another restore was quicker, so that this plan counts for nothing.
    """
    _require_new(tables)
    _tell(tables, spark, plan, "planned")
    quicker = tables.restore_under_way()
    if quicker != tables.stamp.run_id:
        raise TableError(f"Restore {quicker} of the same tables was begun first: let it end, then look anew.")


def abandon(tables: TableStore, spark: SparkSession, plan: Plan) -> list[Written]:
    """Gives up a restore that was begun: what it has restored goes to what it was, and runs may start again.

    Only where no process carries the restore out any more. Gives the tables that went back; may be killed and repeated.
    Raises: TableError, before anything is changed, when the restore has written its record, so that only its last row
    is missing, or another program has written on top of what was restored.
    """
    if recorded(tables):
        raise TableError(
            f"Restore {tables.stamp.run_id} has done all that it had to do: `vizrec restore --resume --yes` writes "
            "its last row, and `vizrec restore` takes it back like any run."
        )
    targets, on_top = [], []
    for step in plan.steps:
        since = _since(tables, step)
        mine = [c for c in since if _is_step(c, tables, step)]
        there = [c for c in in_effect(since) if c.writes]
        if not any(c in mine for c in there):
            continue
        targets.append((step.table, mine[-1].version - 1))
        if there[0] not in mine:
            on_top.append(f"{step.table.name} (version {there[0].version})")
    if on_top:
        raise TableError(
            f"Something was written on top of what restore {tables.stamp.run_id} has restored: {', '.join(on_top)}. "
            "Nothing was changed: take these tables to a version of your choice by Delta's RESTORE, then give it up."
        )
    back = [tables.restore(table, version) for table, version in targets]
    touched = any(_is_ours(c, tables) for step in plan.steps for c in _since(tables, step))
    _tell(tables, spark, plan, "abandoned", touched)
    return back


def carry_out(tables: TableStore, spark: SparkSession, plan: Plan) -> list[Restored]:
    """Does what is left of the plan; a table that stands restored is not restored again.

    A run that was about to commit when the plan was written may still do so. It cannot write more, nor record that it
    came to its end, so it counts as one that was killed: what it wrote to these tables goes as well.
    Raises: TableError as `TableStore.restore`; and where no table was restored yet, when the plan no longer says what
    has to be done, or files that it needs are gone: then it is abandoned, and nothing was changed.
    """
    logs = {step.table.name: _since(tables, step) for step in plan.steps}
    if not any(_is_ours(c, tables) for log in logs.values() for c in log):
        _require_as_planned(tables, spark, plan)
    done = [_restored(tables, step) for step in plan.steps]
    _require_under_way(tables)
    return done


def _restored(tables: TableStore, step: Step) -> Restored:
    written = tables.unchanged(step.table)
    for _ in range(_TRIES):
        _require_under_way(tables)
        _require_files(
            tables, step
        )  # each time: a vacuum that had begun before the restore may take some meanwhile
        if _stands(tables, step):
            late = (c.author for c in _since(tables, step) if c.writes and not _is_ours(c, tables))
            return Restored(written, tuple(dict.fromkeys(late)))
        with suppress(WriteConflict):  # what has come between is looked at, and restored over
            written = tables.restore(step.table, step.then)
    raise TableError(
        f"Table {step.table.name} at {tables.location(step.table)} is written to by another program while it is "
        "restored: stop that, then `vizrec restore --resume --yes`."
    )


def _require_files(tables: TableStore, step: Step) -> None:
    gone = tables.files_gone(step.table, step.then, step.now)
    if gone:
        raise TableError(
            f"{step.table.name} misses {len(gone)} files of version {step.then}, first {gone[0]}: a VACUUM has removed "
            "them meanwhile. `vizrec restore --abandon --yes` puts back what was restored."
        )


def finish(tables: TableStore, spark: SparkSession, plan: Plan) -> None:
    """Writes down that it is done: runs may start again."""
    _tell(tables, spark, plan, "done")


def recorded(tables: TableStore) -> bool:
    """Whether the restore came to its record before it was cut off."""
    mine = (F.col("run_id") == tables.stamp.run_id) & (F.col("stage") == tables.stamp.stage)
    return not tables.read_or_empty(RUNS).where(mine).isEmpty()


def _tell(tables: TableStore, spark: SparkSession, plan: Plan, event: str, touched: bool = False) -> None:
    steps = [(s.table.name, s.now, s.then, s.rows_now, s.rows_then) for s in plan.steps]
    who = (tables.stamp.run_id, event, datetime.now(UTC), plan.asked)
    row = (*who, list(plan.takes_back), list(plan.read_since), steps)
    tables.append(
        RESTORES, spark.createDataFrame([row], RESTORES.schema), {"event": event, "touched": touched}
    )


def _require_new(tables: TableStore) -> None:
    run_id = tables.stamp.run_id
    for table in (RESTORES, RUNS):
        if not tables.read_or_empty(table).where(F.col("run_id") == run_id).isEmpty():
            raise TableError(
                f"Run {run_id} stands in table {table.name} already: a restore needs a --run-id of its own. "
                "Nothing was changed."
            )


def _require_under_way(tables: TableStore) -> None:
    if tables.restore_under_way() != tables.stamp.run_id:
        raise TableError(f"Restore {tables.stamp.run_id} was ended by another process: it does nothing more.")


def _require_as_planned(tables: TableStore, spark: SparkSession, plan: Plan) -> None:
    try:
        for step in plan.steps:
            since = _since(tables, step)
            if since:
                raise TableError(
                    f"Table {step.table.name} was written by {since[-1].author} since this restore was planned "
                    f"(version {since[-1].version}). Nothing was changed: look at the plan anew."
                )
        if not plan.does_as(plan_anew(tables, plan)):
            raise TableError(
                "Another run has written to tables that belong with these since this restore was planned. Nothing was "
                "changed: look at the plan anew."
            )
    except TableError:
        _tell(tables, spark, plan, "abandoned")
        raise


def _since(tables: TableStore, step: Step) -> Sequence[Commit]:
    """Commits after the version that the plan starts from, newest first."""
    return history(tables, step.table, after=step.now)


def _is_step(commit: Commit, tables: TableStore, step: Step) -> bool:
    """Whether the commit is what the plan has to do with the table; one that gives it up goes elsewhere."""
    return _is_ours(commit, tables) and commit.restored_to == step.then


def _is_ours(commit: Commit, tables: TableStore) -> bool:
    return commit.restored_to is not None and commit.run_id == tables.stamp.run_id


def _stands(tables: TableStore, step: Step) -> bool:
    """Whether our restore is the last that happened to the table's rows.

    One that follows a late write may have begun before it, and not have seen rows that were only added: it counts when
    it follows the planned version, or itself.
    """
    since = [c for c in _since(tables, step) if c.writes]
    mine = [_is_step(c, tables, step) for c in since[:2]]
    return bool(mine) and all(mine)
