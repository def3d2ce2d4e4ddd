"""Wires job `maintain`: each table is compacted, clustered and vacuumed, as far as nobody needs what goes."""

from __future__ import annotations

from collections.abc import Iterator

from vizrec_spark.config import Config
from vizrec_spark.config.models import TablesConfig
from vizrec_spark.errors import ConfigError
from vizrec_spark.maintain.upkeep import LOOKED_UP, Upkeep, look
from vizrec_spark.stage import Stage, StageContext, StageResult, log
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.schemas import ALL_TABLES


def run(context: StageContext) -> StageResult:
    """Looks after every table that there is, or those of `maintain.tables`; no row of any version changes.

    Files go that no version of the last `maintain.keep_days` days needs: so whoever began to read within that time, a
    job or a stream, finds all its files. However old they are, files stay that the model in service or a shallow clone
    reads.
    """
    tables, written = context.tables, []
    metrics = dict.fromkeys(
        ("files_before", "files_after", "bytes_before", "bytes_after", "deleted", "deleted_bytes"), 0.0
    )
    for plan in plans(context):
        if plan.compact:
            tables.compact(plan.table, LOOKED_UP.get(plan.table.name))
        if plan.doomed:
            tables.vacuum(plan.table, 24.0 * context.config.maintain.keep_days)
        left = [file for file in plan.doomed if tables.bytes_of([file])]
        after = tables.files(plan.table), tables.size(plan.table)
        log.info("maintain: %s", told(plan, after))
        deleted = plan.doomed_bytes - tables.bytes_of(left)
        figures = (plan.files, after[0], plan.bytes, after[1], len(plan.doomed) - len(left), deleted)
        for name, figure in zip(metrics, figures, strict=True):
            metrics[name] += figure
        written.append(tables.unchanged(plan.table))
    return StageResult(written, [_total(metrics)], metrics)


def plans(context: StageContext) -> Iterator[Upkeep]:
    """What each table needs, one after another; changes nothing."""
    config = context.config
    roots = dict.fromkeys(
        [config.evaluate.training, *config.evaluate.training_copies, *config.maintain.clones]
    )
    others = [TableStore(context.spark, TablesConfig(root=root), context.tables.stamp) for root in roots]
    for table in ALL_TABLES:
        wanted = not config.maintain.tables or table.name in config.maintain.tables
        if wanted and context.tables.exists(table):
            apart = [other for other in others if other.place(table) != context.tables.place(table)]
            yield look(context.tables, table, config.maintain.keep_days, apart)


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
    second = f"{len(plan.doomed):,} old files of {plan.doomed_bytes:,} bytes {verb}"
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
