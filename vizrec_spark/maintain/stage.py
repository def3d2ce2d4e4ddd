"""Wires job `maintain`: each table is compacted, clustered and vacuumed, as far as nobody needs what goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from vizrec_spark.config import Config
from vizrec_spark.config.models import TablesConfig
from vizrec_spark.errors import ConfigError
from vizrec_spark.stage import Stage, StageContext, StageResult, log
from vizrec_spark.tables import Table, TableStore, Written
from vizrec_spark.tables.schemas import (
    ALL_TABLES,
    INTERACTIONS,
    ITEM_NEIGHBORS,
    RECOMMENDATIONS,
)

LOOKED_UP = {INTERACTIONS.name: "user_id", ITEM_NEIGHBORS.name: "item_id", RECOMMENDATIONS.name: "user_id"}
"""The column that people look a table up by: rows of one value come to lie in few files."""


def run(context: StageContext) -> StageResult:
    """Looks after every table, or those of `maintain.tables`; with `maintain.dry_run` it only says what it would do.

    A table that nobody has written since it was last compacted is not compacted again. Files go that no version of
    the last `keep_days` days needs; that is 7 days at least, so whoever began to read within a week finds all files.
    A table is not vacuumed while a shallow clone, below `evaluate.training` or `maintain.clones`, stands on an older
    version of it.
    """
    tables, config = context.tables, context.config.maintain
    horizon = datetime.now(UTC) - timedelta(days=config.keep_days)
    folders = dict.fromkeys([context.config.evaluate.training, *config.clones])
    clones = [TableStore(context.spark, TablesConfig(root=folder), tables.stamp) for folder in folders]
    wanted = config.tables or tuple(table.name for table in ALL_TABLES)
    written: list[Written] = []
    notes: list[str] = []
    metrics = {"files_compacted": 0.0, "files_vacuumed": 0.0}
    for table in ALL_TABLES:
        if table.name not in wanted or not tables.exists(table):
            continue
        compacted = _compacted(tables, table, dry_run=config.dry_run)
        reasons = (_still_needed(clone, tables, table, horizon) for clone in clones)
        needed = next((reason for reason in reasons if reason is not None), None)
        gone = 0 if needed else tables.vacuum(table, 24 * config.keep_days, dry_run=config.dry_run)
        metrics["files_compacted"] += compacted
        metrics["files_vacuumed"] += gone
        verb = "would be " if config.dry_run else ""
        told = f"{table.name}: {compacted:,} files {verb}compacted, {gone:,} {verb}vacuumed"
        notes.append(told if not needed else f"{told}; not vacuumed, for {needed}")
        log.info("maintain: %s", notes[-1])
        written.append(tables.unchanged(table))
    return StageResult(written, [], metrics)


def check(config: Config) -> None:
    """Raises: ConfigError for a table that there is not."""
    unknown = set(config.maintain.tables) - {table.name for table in ALL_TABLES}
    if unknown:
        known = ", ".join(table.name for table in ALL_TABLES)
        raise ConfigError(f"maintain.tables names {', '.join(sorted(unknown))}; the tables are {known}.")


STAGE = Stage("maintain", "compact, cluster and vacuum the tables", run, check)


def _compacted(tables: TableStore, table: Table, *, dry_run: bool) -> int:
    """Files that were, or would be, written anew."""
    if tables.compacted_since_change(table):
        return 0
    if dry_run:
        return tables.files(table)
    return tables.compact(table, LOOKED_UP.get(table.name))


def _still_needed(clones: TableStore, tables: TableStore, table: Table, horizon: datetime) -> str | None:
    """The shallow clone that reads files of a version from before `horizon`, in words; None where there is none."""
    if not clones.exists(table) or clones.place(table) == tables.place(table):
        return None
    version = clones.cloned_version(table)
    if version is None:
        return None
    made = tables.committed_at(table, version)
    if made is not None and made >= horizon:
        return None
    return f"the clone at {clones.location(table)} reads version {version}: run job `holdout`, or remove that folder"
