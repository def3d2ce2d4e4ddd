"""The tables as one page sees them: each in the version that it had when it was first read."""

from __future__ import annotations

from threading import Lock

from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.config.models import TablesConfig
from vizrec_spark.tables import Stamp, Table, TableStore


class PinnedTables(TableStore):
    """A store whose reads of a table all give the same version, from any thread; writes are those of `TableStore`, and
    do not show in what is read."""

    def __init__(self, spark: SparkSession, config: TablesConfig, stamp: Stamp) -> None:
        super().__init__(spark, config, stamp)
        self._frames: dict[str, DataFrame] = {}
        self._pinning: dict[str, Lock] = {}
        self._guard = Lock()

    def read(self, table: Table) -> DataFrame:
        """As `pinned`."""
        return self.pinned(table)

    def pinned(self, table: Table) -> DataFrame:
        """The version that the table had at the first read. Raises: TableError as `TableStore.read`."""
        with self._guard:
            mine = self._pinning.setdefault(table.name, Lock())
        with mine:  # others are pinned meanwhile
            if table.name not in self._frames:
                self._frames[table.name] = super().pinned(table)
            return self._frames[table.name]
