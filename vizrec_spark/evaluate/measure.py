"""Everything that is measured of a set of models: per-user metrics by slice, exposure, intervals, comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import EvaluateConfig
from vizrec_spark.evaluate.exposure import exposure_metrics
from vizrec_spark.evaluate.facts import ItemFacts
from vizrec_spark.evaluate.judged import judged_users
from vizrec_spark.evaluate.per_user import ALL, user_values, with_user_slices
from vizrec_spark.evaluate.summary import summarise

_MOST_PARTITIONS = 32


@dataclass(frozen=True)
class Judged:
    """What is measured: `relevant` and `known` (`user_id`, `item_id`), `lists` of each model (see `judged_users`),
    and the catalogue."""

    relevant: DataFrame
    known: DataFrame
    lists: Mapping[str, DataFrame]
    facts: ItemFacts


def measure(judged: Judged, config: EvaluateConfig, reference: str) -> DataFrame:
    """The columns of table `metrics` but `run_id` and `protocol`; a small frame in memory. Runs Spark jobs.

    Every list is read once and every user looked at once, by one task that computes all metrics of all models.
    """
    spark, models = judged.relevant.sparkSession, list(judged.lists)
    partitions = min(spark.sparkContext.defaultParallelism, _MOST_PARTITIONS)
    facts = spark.sparkContext.broadcast(judged.facts)
    users = judged_users(judged.relevant, judged.known, judged.lists, config.depth).persist(
        StorageLevel.MEMORY_AND_DISK
    )
    values = user_values(users, facts, len(models), config.cutoffs).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        means = summarise(
            with_user_slices(values),
            models,
            config.cutoffs,
            reference=reference,
            replicates=config.replicates,
            seed=config.seed,
            partitions=partitions,
        )
        n_items = int(judged.facts.candidate.sum())
        shown = exposure_metrics(users, models, config.cutoffs, n_items).where("NOT isnan(value)")
        n_users = users.count()
        no = F.lit(None).cast("double")
        of_lists = shown.select(
            F.lit(ALL).alias("slice"),
            "model",
            "metric",
            "value",
            *(no.alias(name) for name in ("lo", "hi")),
            F.lit(n_users).cast("long").alias("n_users"),
            *(no.alias(name) for name in ("difference", "difference_lo", "difference_hi", "p_value")),
        )
        compared = F.when(F.col("difference").isNotNull(), F.lit(reference))
        empty = [
            F.when(~F.isnan(name), F.col(name)).alias(name)
            for name in ("lo", "hi", "difference", "difference_lo", "difference_hi", "p_value")
        ]
        kept = ["slice", "model", "metric", "value", "n_users"]
        rows = means.select(*kept, *empty).unionByName(of_lists).withColumn("reference", compared)
        # A few hundred rows; what they come from is let go of.
        return spark.createDataFrame(rows.toArrow(), rows.schema)
    finally:
        values.unpersist()
        users.unpersist()
        facts.destroy()
