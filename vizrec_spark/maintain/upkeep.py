"""Upkeep of one table: whether it needs compaction, which files are old, and who may still read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vizrec_spark.tables import Table, TableStore
from vizrec_spark.tables.history import commits
from vizrec_spark.tables.models import in_service
from vizrec_spark.tables.schemas import ITEM_FACTORS, ITEM_NEIGHBORS, RECOMMENDATIONS, USER_FACTORS

LOOKED_UP: Mapping[str, str] = {
    ITEM_NEIGHBORS.name: "item_id",
    RECOMMENDATIONS.name: "user_id",
}
"""The column by which readers look rows up: files then tell by their statistics which of them to open. Only tables that
their stage writes as a whole: to put rows beside each other is to write all of them, and where a few are new, that
costs more than it saves."""

_MARGIN_HOURS = 24.0
"""What becomes old while a vacuum runs counts as old when it is asked who needs it."""


@dataclass(frozen=True)
class Upkeep:
    """What was, or would be, done to a table.

    compact: whether its files are written anew. doomed: files that go, and their bytes. kept_for: why none goes
    though some are old; None where nothing stands in the way. files, bytes: of the latest version.
    """

    table: Table
    compact: bool
    doomed: Mapping[str, int]
    kept_for: str | None
    files: int
    bytes: int


def look(
    tables: TableStore, table: Table, keep_days: int, others: Sequence[TableStore], compact: bool
) -> Upkeep:
    """What the table needs; changes nothing. others: places that may hold shallow clones of it. compact: what was, or
    would be, done about its files."""
    files, size = tables.files(table), tables.size(table)
    hours = 24.0 * keep_days
    soon = tables.unused_files(table, hours - _MARGIN_HOURS)
    reason = _needed_by(tables, table, soon, others) if soon else None
    doomed = tables.unused_files(table, hours) if soon and reason is None else set()
    return Upkeep(table, compact, tables.sizes_of(doomed), reason, files, size)


def needs_compaction(tables: TableStore, table: Table) -> bool:
    """Whether there are files to put together, and rows have changed since that was last done."""
    if tables.files(table) < 2:
        return False
    for commit in commits(tables, table):
        if commit.operation == "OPTIMIZE":
            return False
        if commit.writes:
            return True
    return True


def _needed_by(
    tables: TableStore, table: Table, doomed: set[str], others: Sequence[TableStore]
) -> str | None:
    """Who needs one of the files however old it is, in words: the model in service, or a shallow clone."""
    promoted = in_service(tables) if table in (USER_FACTORS, ITEM_FACTORS) else None
    if promoted is not None:
        version = promoted.user_factors_version if table is USER_FACTORS else promoted.item_factors_version
        if doomed & tables.file_paths(table, version):
            return f"the model in service, {promoted.model_id}, reads version {version}"
    here = tables.place(table)
    for other in (one for one in others if one.place(table) != here):
        # By the files, not by the commit that made the clone: others may have come after it, and files stayed.
        if other.exists(table) and doomed & other.file_paths(table):
            return f"a clone at {other.location(table)} reads files of it: run job holdout, or remove that folder"
    return None
