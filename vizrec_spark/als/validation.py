"""Interactions held out by time, and how well lists foretell them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.kernels.ranking import ndcg_at_k


def last_share(interactions: DataFrame, share: float) -> DataFrame:
    """`interactions` with `held_out` (boolean): the latest `share` of all rows, from one moment on that holds for
    everybody, so that nothing of anyone's future is ever learned from.

    The moment is the exact quantile of the times in whole seconds, rounded up; rows of one second stay together, so the
    share is met as well as ties allow. One executor holds about 50 bytes for each distinct second of the log.
    """
    seconds = F.unix_timestamp("timestamp")
    moment = interactions.agg(F.ceil(F.percentile(seconds, F.lit(1 - share))).alias("_moment"))
    return (
        interactions.crossJoin(F.broadcast(moment))
        .withColumn("held_out", seconds >= F.col("_moment"))
        .drop("_moment")
    )


def relevant(split: DataFrame) -> DataFrame:
    """`user_id`, `item_id` to be foretold from a frame with `held_out`: held out, liked (`weight` above 0) and new to
    the user, who has no other interaction with the item before, but some with others."""
    met = split.where("NOT held_out").select("user_id", "item_id").distinct()
    wanted = split.where("held_out AND weight > 0").select("user_id", "item_id").distinct()
    known = wanted.join(met, "user_id", "left_semi")
    return known.join(met, ["user_id", "item_id"], "left_anti")


def mean_ndcg(recommendations: DataFrame, wanted: DataFrame, k: int) -> DataFrame:
    """One row `value` (double, 0 to 1; null without users), `users` (long): the mean nDCG@k of `kernels.ranking`.

    recommendations: `user_id`, `rank`, `item_id`; wanted: `user_id`, `item_id`. The mean is over the users of `wanted`;
    who has no list counts 0.
    """
    hits = wanted.join(recommendations.where(F.col("rank") <= k), ["user_id", "item_id"], "left")
    users = hits.groupBy("user_id").agg(
        F.collect_list("rank").alias("ranks"), F.count(F.lit(1)).cast("int").alias("relevant")
    )

    def judge(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            lists = batch.column("ranks")
            hit = np.zeros((batch.num_rows, k), dtype=np.bool_)
            rows = np.repeat(np.arange(batch.num_rows), lists.value_lengths().to_numpy())
            hit[rows, lists.flatten().to_numpy() - 1] = True
            values = ndcg_at_k(hit, batch.column("relevant").to_numpy())
            yield pa.RecordBatch.from_arrays([pa.array(values)], ["ndcg"])

    judged = users.select("ranks", "relevant").mapInArrow(judge, "ndcg double")
    # Decimals add up the same in any order.
    mean = F.sum(F.col("ndcg").cast("decimal(28,15)")) / F.count(F.lit(1))
    return judged.agg(mean.cast("double").alias("value"), F.count(F.lit(1)).alias("users"))
