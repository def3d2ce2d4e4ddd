"""Delta tables without Spark: the log by `deltalake`, the data files by Arrow, deletion vectors applied here.

Spark writes our tables with deletion vectors. `deltalake` reads them, but its Arrow data sets refuse such a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from numpy.typing import NDArray

from vizrec_spark.config.models import TablesConfig
from vizrec_spark.config.roots import plain_path
from vizrec_spark.errors import ConfigError, TableError
from vizrec_spark.serve.columns import VERSION_PROPERTY, Source

# Commits that change no row (`tables.store` knows the same).
_UPKEEP = (
    *("OPTIMIZE", "VACUUM", "REORG", "FSCK", "SET ", "UNSET ", "ADD ", "DROP ", "CHANGE "),
    *("CLUSTER", "COMPUTE", "MANUAL", "AUTO"),
)
_REMEMBERED = 100


class Piece(NamedTuple):
    """The living rows of one row group: numbers of the file and the group, rows within the group, the columns."""

    file: int
    group: int
    rows: NDArray[np.int64]
    data: pa.Table


class Opened:
    """A table at one version, which it keeps, whatever is committed later."""

    def __init__(self, source: Source, table: DeltaTable) -> None:
        self.source = source
        self.version = int(table.version())
        self._table = table
        adds = pa.table(table.get_add_actions())
        self.files: list[str] = [unquote(path) for path in adds["path"].to_pylist()]
        self._partitions: list[Mapping[str, str | None]] = (
            adds["partition"].to_pylist() if "partition" in adds.column_names else [{}] * len(self.files)
        )

    @cached_property
    def written_at(self) -> float:
        """When its rows were last written, in seconds since 1970, whatever has tidied it up since; 0 where it is not
        known."""
        for commit in self._table.history(_REMEMBERED):
            if int(commit.get("version") or 0) > self.version:  # made since
                continue
            if not str(commit.get("operation")).startswith(_UPKEEP):
                return float(commit.get("timestamp") or 0) / 1000.0
        return 0.0

    @cached_property
    def filesystem(self) -> pa_fs.FileSystem:
        """The table's folder, in whatever store it lies."""
        scheme, _, path, *_ = urlsplit(self._table.table_uri)
        if scheme in ("", "file"):
            # Arrow's own reads leave the interpreter to those who answer; those of the handler go through it.
            return pa_fs.SubTreeFileSystem(unquote(path), pa_fs.LocalFileSystem())
        return pa_fs.PyFileSystem(DeltaStorageHandler.from_table(self._table._table))

    @cached_property
    def _living(self) -> dict[str, NDArray[np.bool_]]:
        """For each file from which rows were deleted: which of its rows are alive."""
        found = pa.table(self._table.deletion_vectors())
        living = {}
        for uri, kept in zip(found["filepath"], found["selection_vector"], strict=True):
            name = unquote(str(uri.as_py()))
            (file,) = [f for f in self.files if name.endswith("/" + f)]
            living[file] = np.asarray(kept.values.to_numpy(zero_copy_only=False), dtype=bool)
        return living

    def pieces(
        self,
        columns: Sequence[str],
        *,
        texts: Sequence[str] = (),
        where: Mapping[str, str] | None = None,
    ) -> Iterator[Piece]:
        """The living rows of `columns`, a row group at a time; `texts` among them come as dictionaries.

        `where` names partition columns and the value that their files have. Raises: TableError for a column that is
        missing, or a file that cannot be read.
        """
        for number, (file, partition) in enumerate(zip(self.files, self._partitions, strict=True)):
            if any(partition.get(name) != value for name, value in (where or {}).items()):
                continue
            try:
                yield from self._file(number, file, columns, texts)
            except (OSError, pa.ArrowInvalid) as error:
                raise TableError(
                    f"Table {self.source.name}: {file} cannot be read: {str(error)[:300]}"
                ) from error

    def _file(self, number: int, file: str, columns: Sequence[str], texts: Sequence[str]) -> Iterator[Piece]:
        with self.filesystem.open_input_file(file) as stream:
            parquet = pq.ParquetFile(stream, read_dictionary=list(texts))
            missing = sorted(set(columns) - set(parquet.schema_arrow.names))
            if missing:
                raise TableError(
                    f"Table {self.source.name}: column {', '.join(missing)} is missing in {file}; run stage "
                    f"`{self.source.writer}` of this version."
                )
            living, first = self._living.get(file), 0
            for group in range(parquet.num_row_groups):
                data = _plain(parquet.read_row_group(group, columns=list(columns)), texts)
                rows = np.arange(len(data))
                if living is not None:
                    rows = np.flatnonzero(living[first : first + len(data)])
                    first += len(data)
                    data = data.take(pa.array(rows))
                yield Piece(number, group, rows, data)

    def table(self, columns: Sequence[str], *, where: Mapping[str, str] | None = None) -> pa.Table | None:
        """All living rows of `columns` at once; None where there is none."""
        found = [piece.data for piece in self.pieces(columns, where=where) if len(piece.data)]
        # Files of different writers may differ in what they say may be null.
        return pa.concat_tables(found, promote_options="default") if found else None


class TableFolder:
    """All tables below ``tables.root``."""

    def __init__(self, config: TablesConfig) -> None:
        """Raises: ConfigError for tables that only Spark finds (a catalog, a store that `deltalake` does not know)."""
        if config.catalog is not None:
            raise ConfigError(
                f"tables.catalog = {config.catalog}: the service reads tables without Spark, by their path. Set "
                "tables.catalog=null and tables.root to the folder in which the catalog keeps them."
            )
        self._root = plain_path(config.root, "tables.root")

    def location(self, source: Source) -> str:
        """Path or URI of the table."""
        return f"{self._root}/{source.name}"

    def open(self, source: Source) -> Opened | None:
        """The table's latest version; None where it does not exist.

        Raises: TableError for one that is not ours, follows another version of the contract, or cannot be read.
        """
        try:
            table = DeltaTable(self.location(source))
            found = table.metadata().configuration.get(VERSION_PROPERTY)
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            raise TableError(
                f"Table {source.name} at {self.location(source)} cannot be read: {str(error)[:300]}"
            ) from error
        if found != str(source.contract):
            told = "has no contract of this package" if found is None else f"follows version {found} of it"
            raise TableError(
                f"Table {source.name} at {self.location(source)} {told}, expected version {source.contract} of the "
                f"contract: run stage `{source.writer}` and the service from the same release."
            )
        return Opened(source, table)

    def open_all(self, sources: Sequence[Source]) -> dict[str, Opened]:
        """Those of `sources` that exist, all as they were at one moment: none had changed when the last was opened.

        Raises: TableError as `open`, or when they do not come to rest.
        """
        for _ in range(10):
            opened = {s.name: table for s in sources if (table := self.open(s)) is not None}
            if self.versions(sources) == {name: table.version for name, table in opened.items()}:
                return opened
        raise TableError(
            f"The tables below {self._root} change faster than they can be opened; tried 10 times."
        )

    def versions(self, sources: Sequence[Source]) -> dict[str, int]:
        """The latest version of each of `sources` that exists, from its log alone. Raises: TableError."""
        found = {}
        for source in sources:
            try:
                found[source.name] = int(DeltaTable(self.location(source)).version())
            except TableNotFoundError:
                continue
            except (DeltaError, OSError) as error:
                raise TableError(
                    f"Table {source.name} at {self.location(source)} cannot be read: {str(error)[:300]}"
                ) from error
        return found


def _plain(data: pa.Table, texts: Sequence[str]) -> pa.Table:
    """`data` in the same types whoever has written the file: Spark's times come in nanoseconds and without a zone, and
    texts of `deltalake` as Arrow's views, which few functions take."""
    schema = pa.schema([field.with_type(_plain_type(field.type)) for field in data.schema])
    if schema != data.schema:
        data = data.cast(schema)
    for name in texts:
        if not pa.types.is_dictionary(data.schema.field(name).type):
            at = data.column_names.index(name)
            data = data.set_column(at, name, data[name].dictionary_encode())
    return data


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC")
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain_type(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain_type(field.type)) for field in kind.fields])
    if pa.types.is_map(kind):
        key, item = kind.key_field, kind.item_field
        return pa.map_(key.with_type(_plain_type(key.type)), item.with_type(_plain_type(item.type)))
    return kind
