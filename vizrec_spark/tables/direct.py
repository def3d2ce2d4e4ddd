"""Small writes from this process, without a job of Spark's: tens of milliseconds in place of seconds.

They are commits like any other, by `deltalake`: with the store's stamp, its guard against a restore, the table's
constraints, and numbered like those of `Once`. Spark goes on reading and writing the same tables beside them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from pyspark.sql.pandas.types import to_arrow_schema

from vizrec_spark.config.roots import plain_path
from vizrec_spark.errors import ConfigError, TableError, WriteConflict
from vizrec_spark.tables.contract import Table
from vizrec_spark.tables.store import Once, TableStore

_CONSTRAINT = "delta.constraints."
_INVALID = "Invalid data found"  # a constraint, or a null where none may be
# Spark's usual way of committing there is only safe for one program at a time.
_NOT_THERE = ("s3", "s3a")


@dataclass(frozen=True)
class Direct:
    """One table, written without Spark."""

    store: TableStore
    table: Table
    path: str
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
        found = _opened(table, path)
        if found.metadata().id != store.identity(table):
            raise TableError(f"{table.name} = {path}: Spark finds another table there")
        constraints = {
            name.removeprefix(_CONSTRAINT): told
            for name, told in found.metadata().configuration.items()
            if name.startswith(_CONSTRAINT)
        }
        if constraints != dict(table.checks):
            raise TableError(
                f"{table.name} = {path}: it was made by another release, with constraints of its own"
            )
        return cls(store, table, path, to_arrow_schema(table.schema, timezone="UTC"))

    def append(self, rows: pa.Table, once: Once | None) -> None:
        """Adds `rows` (the contract's columns); the caller sees to it that `once` has not been made.

        Raises: TableError where the table refuses them.
        """
        self.store.refuse_during_restore()
        try:
            write_deltalake(
                self.path, self._conformed(rows), mode="append", commit_properties=self._properties(once)
            )
        except DeltaError as error:
            raise self._refused(error) from error

    def upsert(self, rows: pa.Table, once: Once | None) -> None:
        """Puts `rows` (the contract's columns, each key once) in the place of those with the same key.

        Each file that has one of the keys is written anew. Raises: WriteConflict where another run has written to
        these files meanwhile, TableError where the table refuses the rows.
        """
        self.store.refuse_during_restore()
        on = " AND ".join(f"old.{name} = new.{name}" for name in self.table.key)
        try:
            (
                _opened(self.table, self.path)
                .merge(
                    self._conformed(rows),
                    on,
                    source_alias="new",
                    target_alias="old",
                    commit_properties=self._properties(once),
                )
                .when_matched_update_all()
                .when_not_matched_insert_all()
                .execute()
            )
        except DeltaError as error:
            raise self._refused(error) from error

    def compact(self) -> None:
        """Writes small files together. Raises: WriteConflict where another run has written to them meanwhile."""
        self.store.refuse_during_restore()
        try:
            _opened(self.table, self.path).optimize.compact(commit_properties=self._properties(None))
        except DeltaError as error:
            raise self._refused(error) from error

    def size(self) -> int:
        """Bytes of the latest version's data files."""
        sizes = pa.table(_opened(self.table, self.path).get_add_actions())["size_bytes"]
        return sum(size.as_py() for size in sizes)

    def _conformed(self, rows: pa.Table) -> pa.Table:
        return rows.select(self.schema.names).cast(self.schema)

    def _properties(self, once: Once | None) -> CommitProperties:
        said: Mapping[str, str] = {"userMetadata": json.dumps(asdict(self.store.stamp))}
        named = [] if once is None else [Transaction(once.writer, once.number)]
        return CommitProperties(custom_metadata=dict(said), app_transactions=named)

    def _refused(self, error: DeltaError) -> Exception:
        """One of ours for what is about the table; a full disk or a closed store speaks for itself."""
        if isinstance(error, CommitFailedError):
            return WriteConflict(
                f"Table {self.table.name} at {self.path} was written by another run at the same time, and that one "
                "won: let it end, then run this stage again."
            )
        # What follows shows the rows.
        told = " ".join(str(error).partition("Preview of invalid data")[0].split())[:600]
        if _INVALID not in told:
            return error
        return TableError(
            f"Table {self.table.name} at {self.path} keeps its last version, the write was refused: {told}"
        )


def _opened(table: Table, path: str) -> DeltaTable:
    try:
        return DeltaTable(path)
    except (DeltaError, OSError) as error:
        raise TableError(f"Table {table.name} at {path} cannot be read: {str(error)[:300]}") from error
