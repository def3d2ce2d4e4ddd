"""Trains MLlib's alternating least squares and gives its factors back under the shop's own ids."""

from __future__ import annotations

from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import AlsConfig


def train_als(indexed: DataFrame, config: AlsConfig) -> tuple[DataFrame, DataFrame]:
    """User and item factors, each `id` (int), `factors` (array<float> of length `rank`).

    implicit: confidence 1 + alpha · preference (Hu, Koren and Volinsky 2008, "Collaborative Filtering for
    Implicit Feedback Datasets"); explicit: squared error on the ratings. The regularization of a row grows with
    its number of preferences (Zhou et al. 2008, ALS-WR), as MLlib has it. The Spark context must have a
    checkpoint directory.
    """
    # A fixed layout, so that sums run in the same order and a repeated run gives the same factors.
    laid_out = indexed.repartition(config.blocks, "user").sortWithinPartitions("user", "item")
    model = ALS(
        userCol="user",
        itemCol="item",
        ratingCol="preference",
        rank=config.rank,
        maxIter=config.iterations,
        regParam=config.regularization,
        alpha=config.alpha,
        implicitPrefs=config.preference == "implicit",
        numUserBlocks=config.blocks,
        numItemBlocks=config.blocks,
        checkpointInterval=config.checkpoint_interval,
        seed=config.seed,
    ).fit(laid_out)
    return model.userFactors.select("id", F.col("features").alias("factors")), model.itemFactors.select(
        "id", F.col("features").alias("factors")
    )


def under_own_ids(factors: DataFrame, id_map: DataFrame, kind: str, model_id: str) -> DataFrame:
    """`model_id`, `user_id` or `item_id`, `factors` from MLlib's `id` and `features`; `kind` is user or item."""
    names = id_map.where(F.col("kind") == kind).select(
        F.col("index").alias("id"), F.col("id").alias(f"{kind}_id")
    )
    own = names.join(factors, "id")
    return own.select(
        F.lit(model_id).alias("model_id"),
        f"{kind}_id",
        F.col("factors").cast("array<float>").alias("factors"),
    )
