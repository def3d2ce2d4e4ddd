"""Everything that is measured of a set of models: per-user metrics by slice, exposure, intervals, comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

from pyspark import Broadcast, StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vizrec_spark.config.models import EvaluateConfig
from vizrec_spark.evaluate.exposure import exposure_metrics
from vizrec_spark.evaluate.facts import ItemFacts
from vizrec_spark.evaluate.judged import judged_users
from vizrec_spark.evaluate.per_user import ALL, user_values, with_user_slices
from vizrec_spark.evaluate.summary import summarise
from vizrec_spark.evaluate.worst import worst_lists

_MOST_PARTITIONS = 32


@dataclass(frozen=True)
class Judged:
    """What is measured: `relevant` and `known` (`user_id`, `item_id`), `lists` of each model (see `judged_users`),
    and the catalogue."""

    relevant: DataFrame
    known: DataFrame
    lists: Mapping[str, DataFrame]
    facts: ItemFacts


class Measures(NamedTuple):
    """Small frames in memory: the columns of tables `metrics` and `worst_lists` but `run_id` and `protocol`."""

    metrics: DataFrame
    worst: DataFrame


def measure(
    spark: SparkSession, rounds: Sequence[Judged], config: EvaluateConfig, reference: str
) -> Measures:
    """What there is to say of the models. Runs Spark jobs.

    Usually there is one round. Of several (the draws of cold items, say), with the same models, a user counts in each
    where there is something to find, and is resampled with all of it: the interval is that of users, and neither it nor
    `n_users` pretends that a user of ten rounds is ten. Coverage and Gini are means over rounds. Each of several rounds
    is also measured by itself, as slice ``round_0`` and so on, which shows the spread over draws. The worst lists are
    those of the first.
    Every list is read once and every user looked at once, by one task that computes all metrics of all models.
    """
    models = list(rounds[0].lists)
    kept: list[DataFrame] = []
    shared: list[Broadcast[ItemFacts]] = []
    try:
        values, shown, everybody = [], [], []
        worst: DataFrame | None = None
        for number, judged in enumerate(rounds):
            facts = spark.sparkContext.broadcast(judged.facts)
            shared.append(facts)
            users = judged_users(judged.relevant, judged.known, judged.lists, config.depth)
            users = users.persist(StorageLevel.MEMORY_AND_DISK)
            kept.append(users)
            found = user_values(users, facts, len(models), config.cutoffs).persist(
                StorageLevel.MEMORY_AND_DISK
            )
            kept.append(found)
            values.append(with_user_slices(found))
            if len(rounds) > 1:
                mine = found.where(F.col("slice") == ALL).withColumn("slice", F.lit(f"round_{number}"))
                values.append(mine.select("user_id", "slice", "values"))
            shown.append(exposure_metrics(users, models, config.cutoffs, facts))
            everybody.append(users.select("user_id"))
            if worst is None:
                worst = worst_lists(users, found, models, config.cutoffs)
        means = summarise(
            reduce(DataFrame.unionByName, values),
            models,
            config.cutoffs,
            reference=reference,
            replicates=config.replicates,
            seed=config.seed,
            partitions=min(spark.sparkContext.defaultParallelism, _MOST_PARTITIONS),
        )
        n_users = reduce(DataFrame.union, everybody).distinct().count()
        rows = _together(means, reduce(DataFrame.unionByName, shown), n_users, reference)
        assert worst is not None
        # Some hundred rows; what they come from is let go of.
        return Measures(*(spark.createDataFrame(few.toArrow(), few.schema) for few in (rows, worst)))
    finally:
        for frame in kept:
            frame.unpersist()
        for facts in shared:
            facts.destroy()


def _together(means: DataFrame, shown: DataFrame, n_users: int, reference: str) -> DataFrame:
    numbers = ("lo", "hi", "difference", "difference_lo", "difference_hi", "p_value")
    filled = [F.when(~F.isnan(name), F.col(name)).alias(name) for name in numbers]
    own = means.select("slice", "model", "metric", "value", "n_users", "n_both", *filled)
    of_lists = (
        shown.where("value IS NOT NULL AND NOT isnan(value)")  # Arrow takes NaN of pandas for null
        .groupBy("model", "metric")
        .agg(F.avg("value").alias("value"))
        .select(
            F.lit(ALL).alias("slice"),
            "model",
            "metric",
            "value",
            F.lit(n_users).cast("long").alias("n_users"),
            F.lit(None).cast("long").alias("n_both"),
            *(F.lit(None).cast("double").alias(name) for name in numbers),
        )
    )
    compared = F.when(F.col("difference").isNotNull(), F.lit(reference))
    return own.unionByName(of_lists).withColumn("reference", compared)
