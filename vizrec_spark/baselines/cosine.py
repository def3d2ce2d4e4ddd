"""Items that the same people like: item-item cosine on sparse interactions, counted by Spark."""

from __future__ import annotations

from typing import Self

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from vizrec_spark.errors import TableError
from vizrec_spark.tables.frames import load_frames, save_frames
from vizrec_spark.tables.liking import liking

_FRAMES = ("neighbors", "liked", "met")


class ItemCosine:
    """Scores an item by its cosine with each item that the user likes; strangers get nothing.

    With L(i) the users who like item i (`liking` above 0), cos(i, j) = |L(i) ∩ L(j)| / √(|L(i)| |L(j)|), and
    each item keeps its `neighbors` nearest, ties by item id. score(u, i) = Σ cos(i, j) over the items j that u likes
    and that are among the nearest of i (Sarwar et al. 2001, "Item-Based Collaborative Filtering Recommendation
    Algorithms", 3.2).
    A user speaks for the pairs among their latest `max_history` liked items, so that the work of a user is at most
    max_history² pairs.
    """

    def __init__(self, neighbors: int = 100, max_history: int = 300) -> None:
        """Raises: ValueError when either is below 1."""
        if min(neighbors, max_history) < 1:
            raise ValueError(
                f"neighbors and max_history must be at least 1, got {neighbors} and {max_history}"
            )
        self.neighbors = neighbors
        self.max_history = max_history
        self._frames: dict[str, DataFrame] = {}

    def fit(self, interactions: DataFrame) -> Self:
        """Counts pairs; see `Recommender.fit`. The nearest items and what users like stay in memory."""
        self.unpersist()
        latest = Window.partitionBy("user_id").orderBy(F.desc("_last"), "item_id")
        liked = (
            interactions.groupBy("user_id", "item_id")
            .agg(liking().alias("_liking"), F.max("timestamp").alias("_last"))
            .where("_liking > 0")
            .withColumn("_place", F.row_number().over(latest))
            .where(F.col("_place") <= self.max_history)
            .select("user_id", "item_id")
            .persist()
        )
        met = interactions.select("user_id", "item_id").distinct()
        self._frames = {"neighbors": self._nearest(liked).persist(), "liked": liked, "met": met}
        return self

    def _nearest(self, liked: DataFrame) -> DataFrame:
        """`item_id`, `neighbor_id`, `cosine` (double, above 0 to 1)."""
        people = liked.groupBy("item_id").agg(F.count(F.lit(1)).alias("_people"))
        pairs = (
            liked.join(liked.select("user_id", F.col("item_id").alias("neighbor_id")), "user_id")
            .where("item_id <> neighbor_id")
            .groupBy("item_id", "neighbor_id")
            .agg(F.count(F.lit(1)).alias("_both"))
        )
        others = people.select(F.col("item_id").alias("neighbor_id"), F.col("_people").alias("_others"))
        cosine = F.col("_both") / F.sqrt(F.col("_people").cast("double") * F.col("_others"))
        near = Window.partitionBy("item_id").orderBy(F.desc("cosine"), "neighbor_id")
        return (
            pairs.join(people, "item_id")
            .join(others, "neighbor_id")
            .select("item_id", "neighbor_id", cosine.alias("cosine"))
            .withColumn("_place", F.row_number().over(near))
            .where(F.col("_place") <= self.neighbors)
            .drop("_place")
        )

    def recommend(self, users: DataFrame, k: int) -> DataFrame:
        """See `Recommender.recommend`."""
        neighbors, liked, met = (self._frame(name) for name in _FRAMES)
        asked = users.select("user_id")
        # Decimals add up the same in any order.
        scored = (
            asked.join(liked.withColumnRenamed("item_id", "neighbor_id"), "user_id")
            .join(neighbors, "neighbor_id")
            .groupBy("user_id", "item_id")
            .agg(F.sum(F.col("cosine").cast("decimal(28,15)")).cast("double").alias("score"))
            .join(met, ["user_id", "item_id"], "left_anti")
        )
        best = Window.partitionBy("user_id").orderBy(F.desc("score"), "item_id")
        ranked = scored.withColumn("rank", F.row_number().over(best)).where(F.col("rank") <= k)
        return ranked.select("user_id", "rank", "item_id", "score")

    def save(self, path: str) -> None:
        """Keeps the nearest items and what users like and have seen at `path`."""
        frames = {name: self._frame(name) for name in _FRAMES}
        settings = {"neighbors": self.neighbors, "max_history": self.max_history}
        save_frames(path, type(self).__name__, frames, settings)

    @classmethod
    def load(cls, spark: SparkSession, path: str) -> Self:
        """What `save` kept at `path`."""
        frames, settings = load_frames(spark, path, cls.__name__, _FRAMES)
        made = cls(**settings)
        made._frames = frames
        return made

    def unpersist(self) -> None:
        """Lets go of what `fit` keeps in memory; the recommender has to be fitted again."""
        for frame in self._frames.values():
            frame.unpersist()
        self._frames = {}

    def _frame(self, name: str) -> DataFrame:
        if name not in self._frames:
            raise TableError("This recommender has learned nothing yet: call fit or load first.")
        return self._frames[name]
