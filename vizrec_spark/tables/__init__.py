"""Tables are contracts: declared once, checked at each boundary, read and written here alone."""

from __future__ import annotations

from vizrec_spark.tables.contract import Table, column
from vizrec_spark.tables.stamp import Once, Stamp, Written
from vizrec_spark.tables.store import TableStore

__all__ = ["Once", "Stamp", "Table", "TableStore", "Written", "column"]
