"""Small writes from this process, without a job of Spark's: tens of milliseconds in place of seconds.

They are commits like any other, by `deltalake`: with the store's stamp, its guard against a restore, the table's
constraints, and numbered as `Once` says. Spark goes on reading and writing the same tables beside them.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from pyspark.sql.pandas.types import to_arrow_schema

from vizrec_spark.config.roots import plain_path
from vizrec_spark.errors import ConfigError, DiskSpaceError, StorageError, TableError, WriteConflict
from vizrec_spark.tables.contract import Table
from vizrec_spark.tables.stamp import Once
from vizrec_spark.tables.store import TableStore

_CONSTRAINT = "delta.constraints."
# What `deltalake` can write, of what a table may ask of its writers.
_FEATURES = {"deletionVectors", "checkConstraints", "invariants", "appendOnly"}
# Spark's usual way of committing there is only safe for one program at a time.
_NOT_THERE = ("s3", "s3a")
_SYSTEM = re.compile(r"\(os error (\d+)\)")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_COMPACTED = 16 << 20
"""Bytes: what a compaction has made so large is not written again with every later one."""
_KEPT_H = 1
"""Hours for which a file that was put out of use stays for those who are reading it: fewer than the table's log tells
of it (`Table.out_of_use_hours`), or nobody would know any more that it may go."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m|↳ ?")
# A checkpoint that fails behind a commit must not look like a commit that failed.
_COMMIT_ALONE = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


@dataclass(frozen=True)
class Direct:
    """One table, written without Spark."""

    store: TableStore
    table: Table
    path: str
    identity: str
    schema: pa.Schema

    @classmethod
    def on(cls, store: TableStore, table: Table) -> Direct:
        """The table of `store`, which exists.

        Raises: TableError for one that only Spark can write: in a store that is not known here, or that is not safe
        for two kinds of writers, or with other constraints than the contract has today.
        """
        place = store.place(table) or store.location(table)
        try:
            path = plain_path(place, table.name)
        except ConfigError as error:
            raise TableError(str(error)) from None
        if urlsplit(path).scheme.lower() in _NOT_THERE:
            raise TableError(f"{table.name} = {path}: on S3 a table must have writers of one kind")
        one = cls(store, table, path, store.identity(table), to_arrow_schema(table.schema, timezone="UTC"))
        one._open()
        return one

    def append(self, rows: pa.Table, once: Once | None) -> None:
        """Adds `rows` (the contract's columns), where `once` has not been made.

        Raises: TableError where the table refuses them.
        """
        self.store.refuse_during_restore()
        found = self._open()
        if _made(found, once):
            return
        rows = self._conformed(rows)
        self._run(
            once,
            lambda: write_deltalake(
                found,
                rows,
                mode="append",
                commit_properties=self._properties(once),
                post_commithook_properties=_COMMIT_ALONE,
            ),
        )

    def upsert(self, rows: pa.Table, once: Once | None, most_bytes: int | None = None) -> bool:
        """Puts `rows` (the contract's columns, each key once) in the place of those with the same key, where `once` has
        not been made.

        False, with nothing written, for a table of more than `most_bytes`: each file that has one of the keys is
        written anew. Raises: WriteConflict where another run has written to these files meanwhile, TableError where
        the table refuses the rows.
        """
        self.store.refuse_during_restore()
        found = self._open()
        if most_bytes is not None and _size(found) > most_bytes:
            return False
        if _made(found, once):
            return True
        on = " AND ".join(f"old.{name} = new.{name}" for name in self.table.key)
        merge = found.merge(
            self._conformed(rows),
            on,
            source_alias="new",
            target_alias="old",
            commit_properties=self._properties(once),
            post_commithook_properties=_COMMIT_ALONE,
        )
        self._run(once, merge.when_matched_update_all().when_not_matched_insert_all().execute)
        return True

    def tidy(self) -> None:
        """Writes small files together, and the log's state into a checkpoint; old files of the log go.

        Raises: WriteConflict where another run has written to the small files meanwhile.
        """
        self.store.refuse_during_restore()
        self._run(
            None,
            lambda: self._open().optimize.compact(
                target_size=_COMPACTED,
                commit_properties=self._properties(None),
                post_commithook_properties=_COMMIT_ALONE,
            ),
        )
        found = self._open()
        self._run(None, found.create_checkpoint)
        self._run(None, found.cleanup_metadata)
        if urlsplit(self.path).scheme in ("", "file"):
            # Hadoop's checksums of files that were just replaced.
            for name in ("_last_checkpoint", f"{found.version():020d}.checkpoint.parquet"):
                (Path(self.path) / "_delta_log" / f".{name}.crc").unlink(missing_ok=True)

    def free(self) -> None:
        """Deletes files that were put out of use more than an hour ago; versions before cannot be read any more."""
        self.store.refuse_during_restore()
        self._run(
            None,
            lambda: self._open().vacuum(
                retention_hours=_KEPT_H,
                dry_run=False,
                enforce_retention_duration=False,
                commit_properties=self._properties(None),
                post_commithook_properties=_COMMIT_ALONE,
            ),
        )

    def size(self) -> int:
        """Bytes of the latest version's data files."""
        return _size(self._open())

    def _open(self) -> DeltaTable:
        """The latest version. Raises: TableError where that is not the table of before, or one only Spark can write."""
        place = f"Table {self.table.name} at {self.path}"
        try:
            found = DeltaTable(self.path)
        except (DeltaError, OSError) as error:
            raise TableError(f"{place} cannot be read: {_plain(error)[:300]}") from None
        metadata = found.metadata()
        if metadata.id != self.identity:
            raise TableError(
                f"{place} is not the one that Spark finds, or found before: was it moved or made anew?"
            )
        features = set(found.protocol().writer_features or ()) - _FEATURES
        if features:
            raise TableError(f"{place} asks for {', '.join(sorted(features))}, which only Spark can write.")
        constraints = {
            name.removeprefix(_CONSTRAINT): said
            for name, said in metadata.configuration.items()
            if name.startswith(_CONSTRAINT)
        }
        if constraints != dict(self.table.checks):
            raise TableError(
                f"{place} was made by another release, with constraints that only Spark may understand: `ALTER TABLE "
                "... DROP CONSTRAINT` those that are not in docs/tables.md, and add those that are."
            )
        return found

    def _conformed(self, rows: pa.Table) -> pa.Table:
        try:
            return rows.select(self.schema.names).cast(self.schema)
        except (ValueError, KeyError) as error:
            raise TableError(f"Table {self.table.name}: {str(error)[:300]}") from None

    def _properties(self, once: Once | None) -> CommitProperties:
        said = {"userMetadata": json.dumps(asdict(self.store.stamp))}
        named = [] if once is None else [Transaction(once.writer, once.number)]
        return CommitProperties(custom_metadata=said, app_transactions=named)

    def _run(self, once: Once | None, write: Callable[[], object]) -> None:
        """Runs `write`. What `deltalake` raises becomes one of ours, without its own behind it, which shows rows."""
        raised = None
        try:
            write()
        except (DeltaError, OSError) as error:
            raised = self._told(error, once)
        if raised is not None:
            raise raised

    def _told(self, error: Exception, once: Once | None) -> Exception | None:
        """One of ours for `error`; None where `once` was made after all, by another or by this one."""
        place = f"Table {self.table.name} at {self.path}"
        told = _plain(error)[:600]
        system = _SYSTEM.search(told)
        if isinstance(error, CommitFailedError):
            if once is not None and _made(self._open(), once):
                return None
            return WriteConflict(
                f"{place} was written by another run at the same time, and that one won: let it end, then run this "
                "stage again."
            )
        if system is not None and int(system[1]) in _FULL:
            return DiskSpaceError(
                f"A disk is full: {told}. Make room where `tables.root` lies, and run again."
            )
        if system is not None or isinstance(error, OSError):
            return StorageError(f"{place} cannot be written, and keeps its last version: {told}")
        return TableError(f"{place} keeps its last version, the write was refused: {told}")


def _plain(error: Exception) -> str:
    """What it says in one line, but for the rows that it shows."""
    return " ".join(_COLOURS.sub("", str(error)).partition("Preview of invalid data")[0].split())


def _size(found: DeltaTable) -> int:
    return sum(pa.table(found.get_add_actions())["size_bytes"].to_pylist())


def _made(found: DeltaTable, once: Once | None) -> bool:
    if once is None:
        return False
    last = found.transaction_version(once.writer)
    return last is not None and last >= once.number
