"""Which item lies in which bucket, with buckets beyond the cap split and counted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, LongType

from vizrec_spark.similar.arrow import list_array, vectors_to_matrix
from vizrec_spark.similar.centre import Centre
from vizrec_spark.similar.lsh import LshParams, bucket_keys, hyperplanes

# Parts are filled by a hash of the id and so only about evenly; this much room keeps most below the cap.
_FILL = 0.9

BUCKET = ["table", "bucket", "part"]
"""The columns that name a part of a bucket."""


def assign_buckets(vectors: DataFrame, params: LshParams, centre: Centre) -> DataFrame:
    """Each item once per table: the columns of `vectors`, table int, bucket long, bucket_size long, part int.

    A bucket of more than `params.bucket_cap` items is split into parts by a hash of item_id, table and seed:
    as good as at random, and the same in every run. `slices` cuts the few parts that the hash still
    overfills. Only the sizes of buckets beyond the cap are gathered (at most tables × n / cap rows).
    """
    hashed = _hashed(vectors, params, centre)
    crowded = (
        _hashed(vectors.select("item_id", "vector"), params, centre)
        .groupBy("table", "bucket")
        .agg(F.count(F.lit(1)).alias("bucket_size"))
        .where(F.col("bucket_size") > params.bucket_cap)
    )
    parts = F.ceil(F.col("bucket_size") / (params.bucket_cap * _FILL))
    drawn = F.pmod(F.xxhash64("item_id", "table", F.lit(params.seed)), parts)
    return hashed.join(F.broadcast(crowded), ["table", "bucket"], "left").withColumn(
        "part", F.coalesce(drawn, F.lit(0)).cast("int")
    )


def slices(rows: Column, cap: int) -> Column:
    """Into how many even slices a part of so many rows is cut, none of them over the cap."""
    return F.ceil(rows / cap)


def bucket_statistics(assigned: DataFrame, params: LshParams) -> DataFrame:
    """One row on `assign_buckets`: how even the buckets are and how much work they make.

    max_bucket_share double: the largest bucket, before splitting, over the number of items (0 to 1);
    max_part_share double: the same after splitting; n_split_buckets long: buckets beyond the cap;
    n_cut_pairs long: unordered pairs of a bucket that its splitting keeps apart, summed over tables;
    candidates_per_item double: others that an item is compared with, summed over tables.
    """
    sizes = (
        assigned.groupBy(*BUCKET)
        .agg(F.count(F.lit(1)).alias("rows"), F.first("bucket_size").alias("bucket_size"))
        .withColumn("slices", slices(F.col("rows"), params.bucket_cap))
        .withColumn("small", F.floor(F.col("rows") / F.col("slices")))
        .withColumn("larger", F.col("rows") % F.col("slices"))
    )
    small, larger = F.col("small"), F.col("larger")
    compared = larger * (small + 1) * small + (F.col("slices") - larger) * small * (small - 1)
    per_bucket = sizes.groupBy("table", "bucket").agg(
        F.sum("rows").alias("rows"),
        F.max(small + F.when(larger > 0, 1).otherwise(0)).alias("largest"),
        F.sum(compared).alias("compared"),
        F.max(F.when(F.col("bucket_size").isNotNull(), 1).otherwise(0)).alias("split"),
    )
    items = F.sum("rows") / params.tables
    return per_bucket.agg(
        (F.max("rows") / items).alias("max_bucket_share"),
        (F.max("largest") / items).alias("max_part_share"),
        F.sum("split").cast("long").alias("n_split_buckets"),
        (F.sum(F.col("rows") * (F.col("rows") - 1) - F.col("compared")) / 2)
        .cast("long")
        .alias("n_cut_pairs"),
        (F.sum("compared") / items).alias("candidates_per_item"),
    )


def _hashed(vectors: DataFrame, params: LshParams, centre: Centre) -> DataFrame:
    def hash_all(batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        planes = hyperplanes(len(centre.mean), params)
        for batch in batches:
            if len(batch) == 0:
                yield pa.array([], pa.list_(pa.int64()))
                continue
            found = bucket_keys(vectors_to_matrix(batch), centre.mean, planes, params.bits)
            yield list_array(pa.array(found.reshape(-1)), np.full(len(found), params.tables))

    keys = F.arrow_udf(hash_all, ArrayType(LongType()))  # type: ignore[call-overload]
    return vectors.select("*", F.posexplode(keys("vector")).alias("table", "bucket"))
