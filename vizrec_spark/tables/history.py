"""What a table's log says about who wrote it, and which of its commits are in effect after restores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from vizrec_spark.tables.contract import Table
from vizrec_spark.tables.delta_log import is_upkeep
from vizrec_spark.tables.store import TableStore


@dataclass(frozen=True)
class Commit:
    """One version of a table.

    at: milliseconds since 1970. operation: Delta's name. run_id, stage: the stamp, empty where another program wrote.
    restored_to: the version that a RESTORE went back to, -1 where the log does not say; None for any other commit.
    """

    version: int
    at: int
    operation: str
    run_id: str
    stage: str
    restored_to: int | None

    @property
    def writes(self) -> bool:
        """Whether it may have changed rows: neither the creation of an empty table nor upkeep."""
        return self.operation not in ("CREATE TABLE", "CREATE TABLE AS SELECT") and not is_upkeep(
            self.operation
        )

    @property
    def author(self) -> str:
        """Who made it, in words."""
        return f"run {self.run_id} (stage {self.stage})" if self.run_id else f"a {self.operation} by hand"

    @property
    def unit(self) -> tuple[str, str]:
        """Run and stage."""
        return self.run_id, self.stage


def history(tables: TableStore, table: Table, after: int = -1) -> list[Commit]:
    """The commits of the table's log above version `after`, newest first, as far back as it goes.

    Reads a small file a commit, and runs no job. Raises: TableError as `TableStore.commit_infos`.
    """
    return list(takewhile(lambda commit: commit.version > after, commits(tables, table)))


def commits(tables: TableStore, table: Table) -> Iterator[Commit]:
    """Like `history`, one after another, each read when it is asked for."""
    return (_commit(version, info) for version, info in tables.commit_infos(table))


def _commit(version: int, info: Mapping[str, Any]) -> Commit:
    operation, restored_to = str(info.get("operation", "")), None
    if operation == "RESTORE":
        target = str(info.get("operationParameters", {}).get("version"))
        restored_to = int(target) if target.isdigit() else -1
    return Commit(
        version,
        int(info.get("timestamp", 0)),
        operation,
        str(info.get("run_id", "")),
        str(info.get("stage", "")),
        restored_to,
    )


def in_effect(commits: Sequence[Commit]) -> list[Commit]:
    """Of the commits, newest first, those that the latest version is made of: none that a RESTORE has jumped over."""
    found: list[Commit] = []
    bound: int | None = None  # what is newer was taken back
    for commit in commits:
        if bound is not None and commit.version > bound:
            continue
        found.append(commit)
        bound = commit.restored_to
    return found
