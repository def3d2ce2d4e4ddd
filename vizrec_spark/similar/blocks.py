"""Packs vectors into blocks: one row holds the ids and the matrix of up to `block_rows` items.

Items are numbered in the order of their ids, and block b holds the numbers from b × block_rows on. So the
blocks depend on the set of items alone, not on how the input is partitioned, and (block, row) orders items
as their ids do.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
)

from vizrec_spark.similar.admits import ADMITS_SCHEMA, ADMITS_TYPE, kept_columns
from vizrec_spark.similar.arrow import list_array, vectors_to_matrix

BLOCKS_SCHEMA = StructType(
    [
        StructField("block", LongType(), False),
        StructField("ids", ArrayType(StringType()), False),
        StructField("dimension", IntegerType(), False),
        StructField("matrix", BinaryType(), False),
    ]
)
"""matrix: float32, row-major, little-endian, len(ids) × dimension."""


def pack_blocks(vectors: DataFrame, *, block_rows: int) -> DataFrame:
    """Blocks (`BLOCKS_SCHEMA`) of `vectors` (item_id string unique, vector array<float>), ids ascending.

    With a column admits (`admits.ADMITS_SCHEMA`) blocks have one of the same name, an array of the items' own.

    The numbering sorts the ids, without their vectors, in one task: some tens of seconds for ten million.
    The blocks are dealt out in turn to as many partitions as Spark has shuffle partitions. That last shuffle
    also keeps a block from being packed again for each block that it is joined with.
    """
    partitions = int(vectors.sparkSession.conf.get("spark.sql.shuffle.partitions") or 1)
    schema = BLOCKS_SCHEMA
    if "admits" in vectors.columns:
        schema = StructType([*BLOCKS_SCHEMA.fields, StructField("admits", ArrayType(ADMITS_SCHEMA), False)])
    number = F.row_number().over(Window.orderBy("item_id")).cast("long") - 1
    numbered = vectors.select("item_id").select("item_id", F.floor(number / block_rows).alias("block"))
    return (
        vectors.select(*kept_columns(vectors))
        .join(numbered, "item_id")
        .groupBy("block")
        .applyInArrow(_pack, schema)
        .repartitionById(partitions, (F.col("block") % partitions).cast("int"))
    )


def _pack(table: pa.Table) -> pa.Table:
    table = table.combine_chunks().sort_by("item_id")
    matrix = vectors_to_matrix(table.column("vector"))
    ids = pa.concat_arrays(table.column("item_id").chunks)
    columns = {
        "block": table.column("block").slice(0, 1).combine_chunks(),
        "ids": list_array(ids, np.array([len(ids)])),
        "dimension": pa.array([matrix.shape[1]], pa.int32()),
        "matrix": pa.array([pack_matrix(matrix)], pa.binary()),
    }
    if "admits" in table.column_names:
        admits = pa.concat_arrays(table.column("admits").chunks).cast(ADMITS_TYPE)
        columns["admits"] = list_array(admits, np.array([len(ids)]))
    return pa.table(columns)


def pack_matrix(matrix: NDArray[np.float32]) -> bytes:
    """The bytes of a matrix as `BLOCKS_SCHEMA` keeps them."""
    return np.ascontiguousarray(matrix, dtype="<f4").tobytes()


def unpack_matrix(packed: pa.Scalar, dimension: int) -> NDArray[np.float32]:
    """The matrix of a block, read-only and without a copy."""
    flat = np.frombuffer(packed.as_buffer(), dtype="<f4")
    return flat.reshape(-1, dimension) if dimension else np.zeros((0, 0), dtype=np.float32)
