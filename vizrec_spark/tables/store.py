"""The only table I/O: reads and writes Delta tables by path or by catalog name, to contract."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from threading import RLock
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from delta import DeltaTable
from delta.tables import DeltaMergeBuilder
from py4j.java_gateway import JavaObject
from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, DataFrameWriter, SparkSession

from vizrec_spark.config.models import TablesConfig
from vizrec_spark.errors import TableError, WriteConflict
from vizrec_spark.tables.contract import Table
from vizrec_spark.tables.ddl import VERSION_PROPERTY, create_statement, literal, quoted
from vizrec_spark.tables.delta_errors import CONFLICTS, delta_fault, root_of
from vizrec_spark.tables.delta_log import (
    commit_file,
    commit_info,
    is_upkeep,
    paths_of,
    place_of,
    rows_changed_at,
    said,
)
from vizrec_spark.tables.guard import Taken, in_between, settled, taken
from vizrec_spark.tables.places import located, qualified, sizes_of
from vizrec_spark.tables.schemas.restores import RESTORES
from vizrec_spark.tables.stamp import Once, Stamp, Written

_METADATA_CONF = "spark.databricks.delta.commitInfo.userMetadata"
# Delta refuses versions older than `delta.deletedFileRetentionDuration`, whose files a vacuum may have removed.
_REFUSE_OLD_CONF = "spark.databricks.delta.vacuum.enforceTimeTravelWithinDeletedFileRetentionDuration"
# Delta also refuses to vacuum sooner than a table's own retention, unless told that it is meant.
_RETENTION_CHECK_CONF = "spark.databricks.delta.retentionDurationCheck.enabled"
_LISTING_TASKS_CONF = (
    "spark.sql.sources.parallelPartitionDiscovery.parallelism"  # a vacuum starts 10,000 otherwise
)
# Delta takes the name of a write by a DataFrame from its options, that of a MERGE from the session.
_ONCE_WRITER_CONF = "spark.databricks.delta.write.txnAppId"
_ONCE_NUMBER_CONF = "spark.databricks.delta.write.txnVersion"
_NOTHING: Mapping[str, object] = MappingProxyType({})
# Delta reads a commit's metadata from the session, which all its threads share: so they write one after the other.
_WRITING: defaultdict[str, RLock] = defaultdict(RLock)


class TableStore:
    """All tables of one place.

    Every write is one atomic Delta commit that carries `stamp`, and gives the same table when it is repeated
    with the same input.
    """

    def __init__(self, spark: SparkSession, config: TablesConfig, stamp: Stamp) -> None:
        self._spark = spark
        self._config = config
        self._stamp = stamp
        self._known: set[tuple[str, int]] = set()  # tables whose contract has been looked at
        self._journal: dict[int, dict[str, Any]] = {}  # what the commits of table `restores` say, which stays
        restores = self.restores()
        self._settled = settled(restores, max(self._journal, default=-1))

    @property
    def stamp(self) -> Stamp:
        """What every commit carries."""
        return self._stamp

    def location(self, table: Table) -> str:
        """Path or catalog name of the table, for people and for SQL."""
        if self._config.catalog is not None:
            return f"{self._config.catalog}.{table.name}"
        return f"{self._config.root.rstrip('/')}/{table.name}"

    def place(self, table: Table) -> str | None:
        """The folder of the table's data in full (`places.qualified`); None for one that its catalog does not have."""
        if self._config.catalog is None:
            return qualified(self._spark, self.location(table))
        return place_of(self._delta(table)) if self.exists(table) else None

    def exists(self, table: Table) -> bool:
        """Whether the table has been created."""
        if self._config.catalog is not None:
            return self._spark.catalog.tableExists(self.location(table))
        return DeltaTable.isDeltaTable(self._spark, self.location(table))

    def read(self, table: Table) -> DataFrame:
        """The table's latest whole version, with exactly the contract's columns.

        Raises: TableError when it is missing, is not ours, or follows another version of the contract.
        """
        if not self.exists(table):
            raise TableError(
                f"Table {table.name} does not exist at {self.location(table)}: run stage `{table.writer}` first."
            )
        self._require_contract(table)
        return table.conform(self._delta(table).toDF())

    def version(self, table: Table) -> int:
        """The number of the table's latest version. Raises: TableError as `read`."""
        if not self.exists(table):
            raise TableError(
                f"Table {table.name} does not exist at {self.location(table)}: run stage `{table.writer}` first."
            )
        self._require_contract(table)
        return int(self._snapshot(table).version())

    def identity(self, table: Table) -> str:
        """What tells the table, which exists, from any other, wherever it is found."""
        return str(self._snapshot(table).metadata().id())

    def read_at(self, table: Table, version: int) -> DataFrame:
        """The table as it was at `version`, whatever is written to it while the frame is in use.

        A frame of `read` follows the table: what was persisted of it is dropped with each MERGE, and computed anew on
        the latest version. Raises: TableError as `read`, or when that version is no longer there.
        """
        self.version(table)
        return self._conformed(table, version)

    def read_kept(self, table: Table, version: int) -> DataFrame:
        """Like `read_at`, for a version whose commit may be old, as long as a vacuum has not taken its files."""
        with self._alone(), self._set(_REFUSE_OLD_CONF, "false"):
            return self.read_at(table, version)

    def pinned(self, table: Table) -> DataFrame:
        """The table's latest version, now and for as long as the frame is in use. Raises: TableError as `read`."""
        return self._conformed(table, self.version(table))

    def _conformed(self, table: Table, version: int) -> DataFrame:
        try:
            found = self._at(table, version)
        except AnalysisException as error:
            raise TableError(
                f"Table {table.name} at {self.location(table)} cannot be read at version {version}: "
                f"{delta_fault(error)}"
            ) from error
        return table.conform(found)

    def read_or_empty(self, table: Table) -> DataFrame:
        """Like `read`, but an empty frame of the contract's columns where the table is missing."""
        return self.read(table) if self.exists(table) else self._spark.createDataFrame([], table.schema)

    def pinned_or_empty(self, table: Table) -> DataFrame:
        """Like `pinned`, but an empty frame of the contract's columns where the table is missing."""
        return self.pinned(table) if self.exists(table) else self.read_or_empty(table)

    def read_files(self, table: Table, files: Iterable[str]) -> DataFrame:
        """The rows of some data files of the table, as ``_metadata.file_path`` of `read` names them.

        Only these files are opened, which Delta does not do for a filter on that column. Rows that were deleted or
        replaced since a file was written are among them: join with keys from `read`.
        """
        # The names come as URIs, and Spark takes patterns.
        paths = [re.sub(r"([\\*?{}\[\]])", r"\\\1", unquote(file)) for file in files]
        return table.conform(self._spark.read.schema(table.schema).parquet(*paths))

    def overwrite(self, table: Table, df: DataFrame, where: str | None = None) -> Written:
        """Replaces all rows, or only the slice that satisfies `where` (a SQL predicate that `df` satisfies)."""
        return self._overwrite(table, df, where)

    def append(
        self, table: Table, df: DataFrame, told: Mapping[str, object] = _NOTHING, once: Once | None = None
    ) -> None:
        """Adds the rows of `df`, which meets no conflict, whoever else writes.

        `told` is JSON that stands beside the stamp in the commit's metadata, for readers of the log alone. With `once`
        nothing is added where that write has been made.
        """
        with self._alone():
            self.ensure(table)
            writer = table.conform(df).write.format("delta").mode("append")
            if once is not None:
                writer = writer.options(txnAppId=once.writer, txnVersion=once.number)
            with self._stamped(table, told):
                self._save(table, writer)

    def upsert_once(self, table: Table, df: DataFrame, once: Once | None) -> None:
        """Like `upsert`, but nothing is counted, and with `once` nothing is written where that write has been made.

        Raises: WriteConflict where another run has written to the rows meanwhile.
        """
        with self._alone(), ExitStack() as named:
            merge = self._merge(table, df).whenMatchedUpdateAll().whenNotMatchedInsertAll()
            named.enter_context(self._stamped(table))
            if once is not None:
                named.enter_context(self._set(_ONCE_WRITER_CONF, once.writer))
                named.enter_context(self._set(_ONCE_NUMBER_CONF, str(once.number)))
            merge.execute()

    def last_number(self, table: Table, writer: str) -> int:
        """The number of the last write of `writer` (see `Once`) in the table; -1 before the first."""
        if not self.exists(table):
            return -1
        found = self._snapshot(table).transactions().get(writer)
        return -1 if found.isEmpty() else int(found.get())

    def _overwrite(
        self, table: Table, df: DataFrame, where: str | None = None, copy_of: str | None = None
    ) -> Written:
        with self._alone():
            self.ensure(table)
            before = self._snapshot(table).version()
            writer = table.conform(df).write.format("delta").mode("overwrite")
            if where is not None:
                writer = writer.option("replaceWhere", where)
            with self._stamped(table, {} if copy_of is None else {"copy_of": copy_of}):
                self._save(table, writer)
            own = self._own_commit(table, before)
            if own is None:  # an empty slice in place of an empty slice makes no commit
                return self._written(table, changed=0)
            version, metrics = own
            copied = int(metrics.get("numCopiedRows", 0))  # of other slices, that shared a file with this one
            wrote = int(metrics.get("numOutputRows", 0)) - copied
            # What takes the place of a slice may leave others: whether it does costs a look at all files.
            all_new = where is None or (
                copied == 0 and self._n_files(table, version) == int(metrics.get("numFiles", -1))
            )
            rows = wrote if all_new else self._rows(table, version)
            changed = wrote
            if where is not None and wrote == 0:
                changed = self._rows_before(table, version) - rows
            return Written(table.name, self.location(table), version, rows, changed)

    def insert_missing(self, table: Table, df: DataFrame, within: Mapping[str, str] | None = None) -> Written:
        """Adds the rows of `df` whose key the table does not have; rows that stand there are left alone.

        `df` must hold each key once. `within`: key columns and the one value that all of `df` has there, so that
        only that part of the table is looked at.
        """
        merge = self._merge(table, df, within).whenNotMatchedInsertAll()
        return self._execute(table, merge)

    def upsert(self, table: Table, df: DataFrame, within: Mapping[str, str] | None = None) -> Written:
        """Adds the rows of `df`, in place of those with the same key; `within` as in `insert_missing`."""
        merge = self._merge(table, df, within).whenMatchedUpdateAll().whenNotMatchedInsertAll()
        return self._execute(table, merge)

    def unchanged(self, table: Table) -> Written:
        """The table as it stands, for a stage that has nothing to write."""
        self.ensure(table)
        return self._written(table, changed=0)

    def delete(self, table: Table, where: Column) -> Written:
        """Deletes the rows that satisfy `where`, in one commit."""
        with self._alone():
            self.ensure(table)
            now = self._snapshot(table)
            if now.numOfFiles() == 0:  # known without a job
                return Written(table.name, self.location(table), int(now.version()), rows=0, changed=0)
            before = self._written(table, changed=0)
            if before.rows == 0:
                return before
            with self._stamped(table):
                self._delta(table).delete(where)
            own = self._own_commit(table, before.version)
            if own is None:
                return self._written(table, changed=0)
            after = self._written(table, changed=0, version=own[0])
            between = own[0] - 1 > before.version  # commits of other processes
            stood = self._rows_before(table, own[0]) if between else before.rows
            return replace(after, changed=stood - after.rows)

    def sync(self, table: Table, df: DataFrame, unchanged: str) -> Written:
        """Makes the table's keys those of `df` in one commit.

        New keys are inserted, keys that `df` lacks are deleted, and a row whose key is there is updated unless
        the SQL predicate `unchanged` over `old` and `new` holds.
        """
        merge = (
            self._merge(table, df)
            .whenMatchedUpdateAll(f"NOT ({unchanged})")
            .whenNotMatchedInsertAll()
            .whenNotMatchedBySourceDelete()
        )
        return self._execute(table, merge)

    def clone_from(self, table: Table, other: TableStore, version: int | None = None) -> Written:
        """Makes the table a version of `other`'s, the latest where none is named.

        The first time this is a shallow clone, which copies no data and stands as long as the files of `other`'s are
        not vacuumed. Delta does not clone over rows: later a table that has changed is overwritten with a copy, in one
        commit, and one that has not is left alone.
        Raises: TableError when `other` does not have it.
        """
        with self._alone():
            version = other.version(table) if version is None else version
            copy_of = f"{other.identity(table)}@{version}"
            if self.exists(table):
                mine = self._snapshot(table)
                if said(commit_info(self._spark, mine.deltaLog(), mine.version())).get("copy_of") == copy_of:
                    return self._written(table, changed=0)
                return self._overwrite(table, other.read_at(table, version), copy_of=copy_of)
            if self._config.catalog is not None:
                self._spark.sql(f"CREATE SCHEMA IF NOT EXISTS {self._config.catalog}")
            with self._stamped(table, {"copy_of": copy_of}):
                self._spark.sql(
                    f"CREATE TABLE {self._sql_name(table)} SHALLOW CLONE {other._sql_name(table)} "
                    f"VERSION AS OF {version}"
                )
            return self._written(table, changed=0)

    def ensure(self, table: Table) -> None:
        """Creates the table, with its constraints, in one commit if it is missing."""
        if self.exists(table):
            self._require_contract(table)
            return
        if self._config.catalog is not None:
            self._spark.sql(f"CREATE SCHEMA IF NOT EXISTS {self._config.catalog}")
        try:
            with self._stamped(table):
                self._spark.sql(create_statement(table, self._sql_name(table)))
        except TableError:
            if not self.exists(table):
                raise
            self._require_contract(table)  # another run was quicker
        self._known.add((table.name, table.version))

    def rows_at(self, table: Table, version: int) -> int:
        """Rows of a version, whose commit may be old. Raises: TableError when the log does not tell of it."""
        with self._alone(), self._set(_REFUSE_OLD_CONF, "false"):
            try:
                return self._rows(table, version)
            except AnalysisException as error:
                raise TableError(
                    f"Table {table.name} at {self.location(table)} has no version {version} any more: "
                    f"{delta_fault(error)}"
                ) from error

    def restore(self, table: Table, version: int) -> Written:
        """Makes the table what it was at `version`, in one commit of Delta's RESTORE.

        Raises: TableError when that version, or a file of it, is gone.
        """
        with self._alone():
            before = self._snapshot(table).version()
            with self._set(_REFUSE_OLD_CONF, "false"), self._stamped(table):
                self._delta(table).restoreToVersion(version)
            own = self._own_commit(table, before)
            written = self._written(table, changed=0, version=None if own is None else own[0])
            return replace(written, changed=written.rows)

    def files_gone(self, table: Table, version: int, beside: int | None = None) -> list[str]:
        """Files that `version` needs, version `beside` (the latest) does not have, and that are not there any more.

        One look-up a file. Raises: TableError when the log does not tell of that version.
        """
        try:
            wanted = self.file_paths(table, version) - self.file_paths(table, beside)
        except (AnalysisException, Py4JJavaError) as error:
            raise TableError(
                f"Table {table.name} at {self.location(table)} has no version {version} any more: its log was cleaned."
            ) from error
        places = [(path, *located(self._spark, path)) for path in sorted(wanted)]
        return [path for path, of, system in places if not system.exists(of)]

    def restores(self) -> list[Taken]:
        """The restores that were begun here, oldest first, as far back as the log of table `restores` goes."""
        if self.exists(RESTORES):
            found = {}  # all or none: what a failure leaves out would never be looked for again
            for version, info in self.commit_infos(RESTORES):
                if version in self._journal:
                    break
                found[version] = info
            self._journal |= found
        return taken(sorted(self._journal.items()))

    def restore_under_way(self) -> str | None:
        """The run id of a restore that was begun here and is not finished."""
        return next((one.run_id for one in self.restores() if one.ended is None), None)

    def refuse_during_restore(self) -> None:
        """Raises: TableError where another run's restore of these tables is on, or was since this store was made.

        What was read before may be taken back by now, so what follows from it must not be written. Every write asks;
        a program that reads for long and writes elsewhere, such as a stream, asks before each batch and ends.
        """
        found = in_between(self.restores(), self._settled, self._stamp.run_id)
        if found is None:
            return
        if found.ended is None:
            raise TableError(
                f"The tables at {self._place()} are being restored (run {found.run_id}): wait for its end; if it was "
                "cut off, `vizrec restore --resume --yes` finishes it, and `vizrec restore --abandon --yes` gives it "
                "up. Then run this again."
            )
        raise TableError(
            f"The tables at {self._place()} were restored (run {found.run_id}) since this run began, so what it has "
            "read may be taken back: nothing more is written. Run it again."
        )

    def _place(self) -> str:
        return self._config.catalog or self._config.root

    def commit_infos(self, table: Table) -> Iterator[tuple[int, dict[str, Any]]]:
        """Version and what the log says about it, newest first, as far back as the log goes.

        That is Delta's `commitInfo` and, over it, what its writer has said. A small file a commit, and no job.
        Raises: TableError where a file of the log is there and cannot be read.
        """
        snapshot = self._snapshot(table)
        for version in range(snapshot.version(), -1, -1):
            try:
                info = commit_info(self._spark, snapshot.deltaLog(), version)
            except Py4JJavaError as error:
                of, system = located(
                    self._spark, commit_file(self._spark, snapshot.deltaLog(), version).toString()
                )
                if not system.exists(of):  # the log was cleaned of what is older
                    return
                raise TableError(
                    f"What the log of table {table.name} at {self.location(table)} says of version {version} cannot "
                    f"be read: {root_of(error)}. Run this again."
                ) from error
            yield version, {**info, **said(info)}

    def changed_at(self, table: Table) -> datetime | None:
        """When rows were last written or taken away; None where the history does not reach so far back."""
        return rows_changed_at(self._delta(table))

    def commits(self, table: Table, limit: int = 10) -> list[dict[str, Any]]:
        """The last commits, newest first: `version`, `timestamp`, `operation` and the fields of `Stamp`."""
        history = (
            self._delta(table).history(limit).select("version", "timestamp", "operation", "userMetadata")
        )
        return [
            {
                **said({"userMetadata": r.userMetadata}),
                "version": r.version,
                "timestamp": r.timestamp,
                "operation": r.operation,
            }
            for r in history.collect()
        ]

    def files(self, table: Table) -> int:
        """Data files of the latest version."""
        return int(self._snapshot(table).numOfFiles())

    def file_paths(self, table: Table, version: int | None = None) -> set[str]:
        """Data files and deletion vectors of a version, the latest where none is named, in full."""
        now = self._snapshot(table)
        if version is None:
            return paths_of(now)
        nothing = self._nothing()
        return paths_of(now.deltaLog().getSnapshotAt(version, nothing, nothing, False))

    def compact(self, table: Table, by: str | None = None) -> None:
        """Writes small files together, and where `by` is a column, rows with near values of it into the same files.

        No row changes, and readers of older versions find theirs. Raises: TableError when another run wrote at once.
        """
        with self._alone(), self._stamped(table):
            optimize = self._delta(table).optimize()
            if by is None:
                optimize.executeCompaction()
            else:
                optimize.executeZOrderBy(by)

    def unused_files(self, table: Table, hours: float) -> set[str]:
        """Files, in full, that no version of the last `hours` needs; what `vacuum` deletes."""
        with self._alone(), self._vacuuming():
            found = self._spark.sql(f"VACUUM {self._sql_name(table)} RETAIN {hours} HOURS DRY RUN").collect()
        return {qualified(self._spark, row.path) for row in found}

    def vacuum(self, table: Table, hours: float) -> None:
        """Deletes files that no version of the last `hours` needs; those versions stay readable, and the log."""
        self.refuse_during_restore()
        with self._alone(), self._vacuuming(), self._stamped(table):
            self._delta(table).vacuum(hours)

    @contextmanager
    def _vacuuming(self) -> Iterator[None]:
        tasks = 4 * self._spark.sparkContext.defaultParallelism
        with self._set(_RETENTION_CHECK_CONF, "false"), self._set(_LISTING_TASKS_CONF, str(tasks)):
            yield

    def sizes_of(self, files: Iterable[str]) -> dict[str, int]:
        """Bytes of those of the files, by their paths in full, that are there; each of their folders is listed once."""
        return sizes_of(self._spark, files)

    def is_empty(self, table: Table) -> bool:
        """Whether the latest version has no data files, which is known without a job."""
        return bool(self._snapshot(table).numOfFiles() == 0)

    def size(self, table: Table) -> int:
        """Bytes of the latest version's data files."""
        return int(self._snapshot(table).sizeInBytes())

    def _save(self, table: Table, writer: DataFrameWriter) -> None:
        if self._config.catalog is not None:
            writer.saveAsTable(self.location(table))
        else:
            writer.save(self.location(table))

    def _delta(self, table: Table) -> DeltaTable:
        if self._config.catalog is not None:
            return DeltaTable.forName(self._spark, self.location(table))
        return DeltaTable.forPath(self._spark, self.location(table))

    def _merge(
        self, table: Table, df: DataFrame, within: Mapping[str, str] | None = None
    ) -> DeltaMergeBuilder:
        if not table.key:
            raise TableError(f"Table {table.name} has no key to merge by: overwrite it, or a slice of it.")
        self.ensure(table)
        on = " AND ".join(
            [f"old.`{c}` = new.`{c}`" for c in table.key]
            + [f"old.{quoted(c)} = {literal(value)}" for c, value in (within or {}).items()]
        )
        return self._delta(table).alias("old").merge(table.conform(df).alias("new"), on)

    def _execute(self, table: Table, merge: DeltaMergeBuilder) -> Written:
        with self._alone():
            before = self._snapshot(table).version()
            with self._stamped(table):
                counts = merge.execute().collect()[0]
            own = self._own_commit(table, before)  # none where the merge found nothing to change
            return self._written(
                table, changed=counts.num_affected_rows, version=None if own is None else own[0]
            )

    def _own_commit(self, table: Table, after: int) -> tuple[int, Mapping[str, str]] | None:
        """Version and operation metrics of this store's last write since version `after`; None where it made none.

        Other processes may have committed as well, before it and behind it, and Delta itself, which under auto
        compaction follows a write with an upkeep that carries the same stamp.
        """
        snapshot, mine = self._snapshot(table), asdict(self._stamp)
        for version in range(snapshot.version(), after, -1):
            info = commit_info(self._spark, snapshot.deltaLog(), version)
            if mine.items() <= said(info).items() and not is_upkeep(info["operation"]):
                return version, info["operationMetrics"]
        return None

    def _at(self, table: Table, version: int) -> DataFrame:
        return self._spark.sql(f"SELECT * FROM {self._sql_name(table)} VERSION AS OF {version}")

    def _written(self, table: Table, changed: int, version: int | None = None) -> Written:
        """The account of `version`, the latest where none is named."""
        version = self._snapshot(table).version() if version is None else version
        return Written(table.name, self.location(table), version, self._rows(table, version), changed)

    def _rows(self, table: Table, version: int) -> int:
        # Delta answers a bare count from the statistics in its log, without a pass over the data.
        return self._at(table, version).count()

    def _n_files(self, table: Table, version: int) -> int | None:
        """Data files of `version`, known without a job; None where another commit has come behind it."""
        now = self._snapshot(table)
        return int(now.numOfFiles()) if now.version() == version else None

    def _rows_before(self, table: Table, version: int) -> int:
        """Rows of the version that a commit made just now has replaced: its files are there, however old it is."""
        with self._set(_REFUSE_OLD_CONF, "false"):
            return self._rows(table, version - 1)

    def _nothing(self) -> JavaObject:
        jvm = self._spark._jvm
        assert jvm is not None  # for mypy: a classic session has one
        return jvm.scala.Option.empty()

    def _snapshot(self, table: Table) -> JavaObject:
        """Delta's own view of the latest version. Unlike `history` and `detail` it costs no Spark job."""
        nothing = self._nothing()
        return self._delta(table)._jdt.deltaLog().update(False, nothing, nothing)

    def _require_contract(self, table: Table) -> None:
        """Raises: TableError for a table that this package has not made, or made to another version."""
        if (table.name, table.version) in self._known:
            return
        place = f"Table {table.name} at {self.location(table)}"
        try:
            found = self._snapshot(table).metadata().configuration().get(VERSION_PROPERTY)
        except AnalysisException:
            found = None
        if found is None or found.isEmpty():
            raise TableError(
                f"{place} was not made by vizrec-spark and is left alone: point `tables.root` or `tables.catalog` at a "
                "place of its own."
            )
        version = int(found.get())
        if version > table.version:
            raise TableError(
                f"{place} follows contract version {version}, this program knows {table.version}: "
                "upgrade vizrec-spark, or point `tables` at another place."
            )
        if version < table.version:
            raise TableError(
                f"{place} follows contract version {version}, this program writes {table.version}: "
                f"move it away and run stage `{table.writer}`, which writes it anew."
            )
        self._known.add((table.name, table.version))

    def _sql_name(self, table: Table) -> str:
        """The table in SQL; a path must be absolute there."""
        if self._config.catalog is not None:
            return self.location(table)
        return f"delta.{quoted(qualified(self._spark, self.location(table)))}"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The only thread of its session that writes, from what a write starts from to the account of it."""
        with _WRITING[self._spark._jsparkSession.sessionUUID()]:
            yield

    @contextmanager
    def _stamped(self, table: Table, told: Mapping[str, object] = _NOTHING) -> Iterator[None]:
        """Commits made inside carry the stamp and what is `told`; what Delta refuses becomes a TableError."""
        tag = {**asdict(self._stamp), **told}
        self.refuse_during_restore()
        with self._alone(), self._set(_METADATA_CONF, json.dumps(tag)):
            try:
                yield
            except CONFLICTS as error:
                raise WriteConflict(
                    f"Table {table.name} at {self.location(table)} was written by another run at the same time, and "
                    "that one won: let it end, then run this stage again."
                ) from error
            except (AnalysisException, Py4JJavaError) as error:
                fault = delta_fault(error)
                if fault is None:
                    raise
                raise TableError(
                    f"Table {table.name} at {self.location(table)} keeps its last version, the write was refused: "
                    f"{fault}"
                ) from error

    @contextmanager
    def _set(self, key: str, value: str) -> Iterator[None]:
        """A setting of the session while the body runs; only for who is alone."""
        conf = self._spark.conf
        before = conf.get(key, None)
        conf.set(key, value)
        try:
            yield
        finally:
            if before is None:
                conf.unset(key)
            else:
                conf.set(key, before)
