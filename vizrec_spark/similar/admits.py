"""What filters ask of an item, as a column that travels with its vector, for the plan that never gathers all items."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    FloatType,
    IntegerType,
    StringType,
    StructField,
    StructType,
)

from vizrec_spark.config.models.similar import FiltersConfig
from vizrec_spark.kernels.candidates import ANY_GROUP, EVERYTHING, NEVER_OFFERED, Admission
from vizrec_spark.similar.filters import asks_anything, excluded_pairs, facts_of, refused

ADMITS_SCHEMA = StructType(
    [
        StructField("code", IntegerType()),
        StructField("offered", BooleanType()),
        StructField("price", FloatType()),
        StructField("banned", ArrayType(StringType())),
    ]
)
"""code: equal where the expressions of `similar.filters.same` are; offered: whether anybody gets the item; banned: ids
that the item does not get. Nothing says what may be null, as Spark finds that out anew for each frame."""

ADMITS_TYPE = pa.struct(
    [
        ("code", pa.int32()),
        ("offered", pa.bool_()),
        ("price", pa.float32()),
        ("banned", pa.list_(pa.string())),
    ]
)
"""The same to Arrow."""


def with_admits(vectors: DataFrame, items: DataFrame, filters: FiltersConfig) -> DataFrame:
    """`vectors` (item_id, vector) with column admits (`ADMITS_SCHEMA`) where `filters` ask anything.

    Runs a job over `items` (columns of table items); the driver holds the distinct values of `same`. An item that
    `items` lacks has null in every column. Raises: as `filters.admission_of`.
    """
    if not asks_anything(filters):
        return vectors
    facts = facts_of(items, filters)
    try:  # what is wrong with an expression is said here, and not by some later job
        values = facts.groupBy("value").agg(F.max("offered"), F.max("price")).toArrow()
    except PySparkException as error:
        raise refused(items, error) from error
    names = pc.unique(pa.concat_arrays([pa.array([""]), *values.column("value").cast(pa.string()).chunks]))
    codes = pa.table({"value": names, "code": pa.array(np.arange(len(names), dtype=np.int32))})
    coded = F.broadcast(vectors.sparkSession.createDataFrame(codes, "value string, code int"))
    joined = vectors.join(facts, "item_id", "left").withColumn("value", F.coalesce("value", F.lit("")))
    joined = joined.join(coded, "value")
    if filters.exclude is None:
        joined = joined.withColumn("banned", F.lit(None).cast("array<string>"))
    else:
        pairs = excluded_pairs(vectors.sparkSession, filters.exclude)
        banned = pairs.groupBy("item_id").agg(F.collect_set("neighbor_id").alias("banned"))
        joined = joined.join(banned, "item_id", "left")
    offered = F.coalesce("offered", F.lit(filters.where is None))
    admits = F.struct("code", offered.alias("offered"), "price", "banned")
    return joined.select("item_id", "vector", admits.alias("admits"))


def kept_columns(vectors: DataFrame) -> list[str]:
    """Those of item_id, vector and admits that are there."""
    return [name for name in ("item_id", "vector", "admits") if name in vectors.columns]


def admits_in(batch: pa.RecordBatch) -> pa.StructArray | None:
    """Column admits of a batch, where it has one."""
    return batch.column("admits") if "admits" in batch.schema.names else None


def admission_between(
    asked: pa.StructArray | None, base: pa.StructArray | None, base_ids: pa.Array, filters: FiltersConfig
) -> Admission:
    """Which of `base`, numbered in the order in which they come, each of `asked` may get; None for no filters."""
    if asked is None or base is None:
        return EVERYTHING
    code, wanted = (_numpy(side.field("code"), np.int32) for side in (base, asked))
    offered = base.field("offered").to_numpy(zero_copy_only=False).astype(bool)
    group = np.where(offered, code, NEVER_OFFERED).astype(np.int32)
    wanted = wanted if filters.same else np.full(len(asked), ANY_GROUP, dtype=np.int32)
    banned, starts = EVERYTHING.banned, EVERYTHING.banned_from
    if filters.exclude is not None:
        banned, starts = _banned(asked.field("banned"), base_ids)
    if filters.price_band is None:
        return Admission(group, wanted, banned=banned, banned_from=starts)
    price, own = (_numpy(side.field("price"), np.float32) for side in (base, asked))
    low, high = own * np.float32(1 - filters.price_band), own * np.float32(1 + filters.price_band)
    return Admission(group, wanted, price, low, high, banned, starts)


def allowed(admission: Admission, queries: int, candidates: int) -> NDArray[np.bool_] | None:
    """The same as a matrix (queries × candidates); None where everything is allowed."""
    if admission is EVERYTHING:
        return None
    may = np.broadcast_to(admission.group >= 0, (queries, candidates)).copy()
    may &= (admission.wanted[:, None] == ANY_GROUP) | (admission.group == admission.wanted[:, None])
    if len(admission.price):
        low, high = admission.low[:, None], admission.high[:, None]
        may &= np.isnan(low) | ((low <= admission.price) & (admission.price <= high))
    if len(admission.banned_from):
        query = np.repeat(np.arange(queries), np.diff(admission.banned_from))
        may[query, admission.banned] = False
    return may


def _banned(lists: pa.ListArray, base_ids: pa.Array) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    lengths = _numpy(pc.list_value_length(lists), np.int64)
    query = np.repeat(np.arange(len(lists)), lengths)
    number = pc.fill_null(pc.index_in(lists.flatten(), value_set=base_ids), -1).to_numpy().astype(np.int64)
    query, number = query[number >= 0], number[number >= 0]
    order = np.lexsort((number, query))
    starts = np.zeros(len(lists) + 1, dtype=np.int64)
    np.cumsum(np.bincount(query, minlength=len(lists)), out=starts[1:])
    return number[order].astype(np.int32), starts


def _numpy(column: pa.Array, dtype: type) -> NDArray:
    """A column as numpy; null becomes NaN, or 0 in a column of integers."""
    if dtype is np.float32:
        return column.to_numpy(zero_copy_only=False).astype(np.float32)
    return pc.fill_null(column, 0).to_numpy(zero_copy_only=False).astype(dtype)
