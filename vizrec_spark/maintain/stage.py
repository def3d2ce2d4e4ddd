"""Wires job `maintain`: each table is compacted, clustered and vacuumed, as far as nobody needs what goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from vizrec_spark.config import Config
from vizrec_spark.config.models import TablesConfig
from vizrec_spark.errors import ConfigError, LeftOut, TableError
from vizrec_spark.maintain.upkeep import LOOKED_UP, Upkeep, look, needs_compaction
from vizrec_spark.stage import Stage, StageContext, StageResult, ended, log
from vizrec_spark.tables import Table, TableStore, Written
from vizrec_spark.tables.schemas import ALL_TABLES

BESIDE = ("_training", "_current")
"""The ends of the folders, beside that of the tables, in which the DAGs keep shallow clones of them."""

Done = TypeVar("Done")

_LIVE = "stream"  # who writes live tables
_FIGURES = ("files_before", "files_after", "bytes_before", "bytes_after", "deleted", "deleted_bytes")


def run(context: StageContext) -> StageResult:
    """Looks after every table that there is, or those of `maintain.tables`; no row of any version changes.

    Files go that no version of the last `maintain.keep_days` days needs: so whoever began to read within that time, a
    job or a stream, finds all its files. However old they are, files stay that the model in service or a shallow clone
    reads. Raises: LeftOut at the end, where a table could not be looked after, or tables began to be restored; the
    others were, and it has the account of them. TableError where tables are being restored before the first.
    """
    written: list[Written] = []
    metrics, others = dict.fromkeys(_FIGURES, 0.0), _others(context)

    def look_after(table: Table) -> tuple[int, ...]:
        figures = _look_after(context, table, others)
        written.append(context.tables.unchanged(table))
        return figures

    try:
        for figures in _one_by_one(context, look_after):
            for name, figure in zip(_FIGURES, figures, strict=True):
                metrics[name] += figure
    except LeftOut as error:
        left = {**metrics, "tables_left_out": float(len(list(_wanted(context))) - len(written))}
        raise ended(error, StageResult(written, [_total(metrics)], left)) from None
    return StageResult(written, [_total(metrics)], metrics)


def _one_by_one(context: StageContext, do: Callable[[Table], Done]) -> Iterator[Done]:
    """What `do` gives for each table in turn.

    Raises: LeftOut at the end, where a table is not ours to look after, or `do` raised a TableError, and between two
    tables where they began to be restored; TableError where they are being restored before the first.
    """
    tables, faults = context.tables, []
    wanted = list(_wanted(context))
    for number, table in enumerate(wanted):
        try:
            tables.refuse_during_restore()
        except TableError as error:
            if number == 0:
                raise
            faults.append(f"{table.name} ({error})")
            faults += [other.name for other in wanted[number + 1 :]]
            break
        try:
            tables.version(table)  # not of a table that another program made
            done = do(table)
        except TableError as error:
            log.warning("maintain: %s: %s", table.name, error)
            faults.append(f"{table.name} ({error})")
            continue
        yield done
    if faults:
        raise LeftOut(
            f"{len(faults)} of {len(wanted)} tables cannot be looked after now: {'; '.join(faults)}. Run it "
            "again when nothing else writes to these tables; a table that is not this program's, or of "
            "another contract, is left out each time: upgrade, move it away, or name the others in maintain.tables."
        )


def _look_after(context: StageContext, table: Table, others: Sequence[TableStore]) -> tuple[int, ...]:
    """Compacts and vacuums one table; the figures of `_FIGURES`."""
    tables, keep_days = context.tables, context.config.maintain.keep_days
    before, compact = (tables.files(table), tables.size(table)), _compacts(context, table)
    if compact:
        tables.compact(table, LOOKED_UP.get(table.name))
    # Compaction takes its time: who needs old files is asked directly before they go.
    plan = look(tables, table, keep_days, others, compact)
    if plan.doomed:
        tables.vacuum(table, 24.0 * keep_days)
    left = tables.sizes_of(plan.doomed)
    log.info("maintain: %s", told(replace(plan, files=before[0], bytes=before[1]), (plan.files, plan.bytes)))
    deleted = len(plan.doomed) - len(left), sum(plan.doomed.values()) - sum(left.values())
    return (before[0], plan.files, before[1], plan.bytes, *deleted)


def _compacts(context: StageContext, table: Table) -> bool:
    return context.config.maintain.compact and needs_compaction(context.tables, table)


def plans(context: StageContext) -> Iterator[Upkeep]:
    """What each table needs, one after another; changes nothing.

    Raises: TableError as `run`, at the end where tables would be left out, for what cannot be done is not promised.
    """
    keep_days, others = context.config.maintain.keep_days, _others(context)
    yield from _one_by_one(
        context, lambda table: look(context.tables, table, keep_days, others, _compacts(context, table))
    )


def _wanted(context: StageContext) -> Iterator[Table]:
    """Those that are named; or all but the live ones, which job `stream` looks after itself, day and night."""
    names = context.config.maintain.tables
    return (
        table
        for table in ALL_TABLES
        if (table.name in names if names else table.writer != _LIVE) and context.tables.exists(table)
    )


def _others(context: StageContext) -> list[TableStore]:
    """Places that may hold shallow clones of these tables."""
    config = context.config
    beside = [config.tables.root.rstrip("/") + end for end in BESIDE]
    named = [config.evaluate.training, *config.evaluate.training_copies, *config.maintain.clones]
    roots = dict.fromkeys([*beside, *named])
    return [TableStore(context.spark, TablesConfig(root=root), context.tables.stamp) for root in roots]


def told(plan: Upkeep, after: tuple[int, int] | None = None) -> str:
    """One line about a table: what was done to it, or would be where there is no `after` (files, bytes)."""
    by = LOOKED_UP.get(plan.table.name)
    how = f"by {by}" if by else "together"
    now = f"{plan.files:,} files, {plan.bytes:,} bytes"
    if after is None:
        first = f"{now}, would be written {how}" if plan.compact else f"{now}, stay as they are"
    else:
        first = f"{now} -> {after[0]:,} files, {after[1]:,} bytes" if plan.compact else now
    verb = "would be deleted" if after is None else "deleted"
    second = f"{len(plan.doomed):,} old files of {sum(plan.doomed.values()):,} bytes {verb}"
    return f"{plan.table.name}: {first}; " + (f"old files stay: {plan.kept_for}" if plan.kept_for else second)


def _total(metrics: dict[str, float]) -> str:
    return (
        f"{metrics['files_before']:,.0f} files ({metrics['bytes_before']:,.0f} bytes) are now "
        f"{metrics['files_after']:,.0f} ({metrics['bytes_after']:,.0f} bytes); {metrics['deleted']:,.0f} old files "
        f"({metrics['deleted_bytes']:,.0f} bytes) were deleted"
    )


def check(config: Config) -> None:
    """Raises: ConfigError for a table that there is not."""
    known = [table.name for table in ALL_TABLES]
    unknown = sorted(set(config.maintain.tables) - set(known))
    if unknown:
        raise ConfigError(f"maintain.tables names {', '.join(unknown)}; the tables are {', '.join(known)}.")


STAGE = Stage("maintain", "compact, cluster and vacuum the tables", run, check)
