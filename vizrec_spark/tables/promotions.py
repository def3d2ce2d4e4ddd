"""Which model is in service: the last that job `promote` has written down."""

from __future__ import annotations

from pyspark.sql import Row
from pyspark.sql import functions as F

from vizrec_spark.tables.schemas import PROMOTIONS
from vizrec_spark.tables.store import TableStore


def in_service(tables: TableStore) -> Row | None:
    """The last row of table `promotions`; None before the first promotion."""
    return tables.read_or_empty(PROMOTIONS).orderBy(F.desc("number")).first()
