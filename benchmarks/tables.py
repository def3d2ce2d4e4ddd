"""Tables of a contract for benchmarks that want them without starting Spark."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable
from pyspark.sql.pandas.types import to_arrow_schema

from vizrec_spark.tables import Table


def new_table(root: Path, table: Table) -> tuple[str, pa.Schema]:
    """Makes the table, empty, below `root`, with the contract's version, as Spark does; its place and schema.

    Raises: DeltaError where it is there already.
    """
    schema = to_arrow_schema(table.schema, timezone="UTC")
    place = str(root / table.name)
    DeltaTable.create(
        place,
        schema,
        partition_by=list(table.partition_by) or None,
        configuration={"vizrec.contractVersion": str(table.version)},
        raise_if_key_not_exists=False,
    )
    return place, schema
