"""The nearest look-alikes of an item within each category."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from vizrec_spark.similar.scoring import Metric


def nearest_by_category(neighbors: DataFrame, items: DataFrame, *, k: int, metric: Metric) -> DataFrame:
    """Of `neighbors` (`lists.NEIGHBORS_SCHEMA`, deep lists), the k nearest of each item and category.

    Columns: item_id, category, rank (1 = nearest), neighbor_id, cosine, distance. `items`: item_id, categories
    (array<string>). A neighbour counts in each of its categories; one without categories counts in none.
    """
    categories = items.select(
        F.col("item_id").alias("neighbor_id"), F.explode("categories").alias("category")
    )
    order = F.desc("cosine") if metric == "cosine" else F.asc("distance")
    window = Window.partitionBy("item_id", "category").orderBy(order, "neighbor_id")
    return (
        neighbors.drop("rank")
        .join(categories.distinct(), "neighbor_id")
        .withColumn("rank", F.row_number().over(window))
        .where(F.col("rank") <= k)
        .select("item_id", "category", "rank", "neighbor_id", "cosine", "distance")
    )
