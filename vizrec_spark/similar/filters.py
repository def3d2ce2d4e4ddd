"""Who may be a look-alike of whom, from the catalogue: predicates, equal values, price bands and excluded pairs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vizrec_spark.config.models.similar import FiltersConfig
from vizrec_spark.errors import ConfigError, InputError, TableError
from vizrec_spark.kernels.candidates import ANY_GROUP, EVERYTHING, NEVER_OFFERED, Admission
from vizrec_spark.tables.foreign import read_pairs


def admission_of(ids: pa.Array, items: DataFrame, filters: FiltersConfig) -> Admission:
    """Runs a job: what `filters` say of the items `ids`, from `items` (columns of table items).

    The driver holds some 20 bytes an item and 4 a pair. An item that `items` lacks has null in every column.

    Raises: ConfigError when an expression is not one over those columns, or fails on a row of them; InputError for
    unusable excluded pairs.
    """
    banned, banned_from = _banned(ids, items.sparkSession, filters.exclude)
    if not asks_catalogue(filters):
        return Admission(banned=banned, banned_from=banned_from) if filters.exclude else EVERYTHING
    try:
        facts = facts_of(items, filters).toArrow()
    except PySparkException as error:  # SQL that fails on a row
        raise refused(items, error) from error
    at = pc.index_in(ids, value_set=facts.column("item_id"))
    offered = pc.fill_null(facts.column("offered").take(at), filters.where is None)
    value = pc.fill_null(facts.column("value").take(at), "")
    price = facts.column("price").take(at).to_numpy().astype(np.float32)
    codes = value.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int32)
    wanted = codes if filters.same else np.full(len(ids), ANY_GROUP, dtype=np.int32)
    group = np.where(offered.to_numpy(), codes, NEVER_OFFERED).astype(np.int32)
    if filters.price_band is None:
        return Admission(group, wanted, banned=banned, banned_from=banned_from)
    low, high = price * np.float32(1 - filters.price_band), price * np.float32(1 + filters.price_band)
    return Admission(group, wanted, price, low, high, banned, banned_from)


def asks_anything(filters: FiltersConfig) -> bool:
    """Whether any of what acts inside the search is set."""
    return asks_catalogue(filters) or filters.exclude is not None


def asks_catalogue(filters: FiltersConfig) -> bool:
    """Whether any of it is about the columns of table items."""
    return filters.where is not None or bool(filters.same) or filters.price_band is not None


def check_filters(items: DataFrame, filters: FiltersConfig) -> None:
    """Raises what `admission_of` does, as far as it can be known without a look at a row of `items`."""
    facts_of(items, filters)
    if filters.exclude is not None:
        excluded_pairs(items.sparkSession, filters.exclude)


def facts_of(items: DataFrame, filters: FiltersConfig) -> DataFrame:
    """What `filters` ask of `items`: item_id, offered (boolean), value (of `same`, as JSON), price (float).

    Raises: ConfigError when an expression is not one over the columns of `items`.
    """
    try:
        same = [F.expr(text).alias(f"v{number}") for number, text in enumerate(filters.same)]
        return items.select(
            "item_id",
            (F.lit(True) if filters.where is None else F.coalesce(F.expr(filters.where), F.lit(False)))
            .cast("boolean")
            .alias("offered"),
            (F.to_json(F.struct(*same)) if same else F.lit("")).alias("value"),
            F.col("price").cast("float").alias("price"),
        )
    except PySparkException as error:  # SQL that cannot be read
        raise refused(items, error) from error


def refused(items: DataFrame, error: PySparkException) -> ConfigError:
    """The error to raise for what Spark says of an expression."""
    first = str(error).strip().splitlines()[0]
    return ConfigError(
        f"similar.filters: expected SQL over the columns of table items ({', '.join(items.columns)}): {first}"
    )


def excluded_pairs(spark: SparkSession, path: str) -> DataFrame:
    """item_id and neighbor_id (strings) of a Parquet folder or Delta table; raises InputError where it is neither."""
    try:
        return read_pairs(spark, path)
    except TableError as error:
        raise InputError(f"similar.filters.exclude: {error}") from error


def _banned(ids: pa.Array, spark: SparkSession, path: str | None) -> tuple[np.ndarray, np.ndarray]:
    if path is None:
        return EVERYTHING.banned, EVERYTHING.banned_from
    pairs = excluded_pairs(spark, path).toArrow()
    item = pc.index_in(pairs.column("item_id"), value_set=ids)
    other = pc.index_in(pairs.column("neighbor_id"), value_set=ids)
    known = pc.and_(item.is_valid(), other.is_valid())
    item, other = (c.filter(known).to_numpy().astype(np.int64) for c in (item, other))
    order = np.lexsort((other, item))
    starts = np.zeros(len(ids) + 1, dtype=np.int64)
    np.cumsum(np.bincount(item, minlength=len(ids)), out=starts[1:])
    return other[order].astype(np.int32), starts
