"""Any table of recommendations, whoever made it, as a recommender."""

from __future__ import annotations

from typing import Self

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from vizrec_spark.errors import TableError
from vizrec_spark.tables.frames import load_frames, save_frames

_NEEDED = {"user_id": "string", "item_id": "string", "score": "double"}


class TableRecommender:
    """Lists made elsewhere, so that they can be judged beside the others; users who are not in them get nothing.

    recommendations: `user_id`, `item_id`, `score` (larger is better, comparable within a user) and optionally `rank`
    (1 is best, then `score` only decides between equal ranks); other columns are ignored. `fit` learns what each user
    has seen, which is then left out; without it the lists stand as they are.
    """

    def __init__(self, recommendations: DataFrame) -> None:
        """Raises: TableError naming the columns that are missing or of another type."""
        found = dict(recommendations.dtypes)
        wrong = [f"`{name}` ({kind})" for name, kind in _NEEDED.items() if found.get(name) != kind]
        if wrong:
            raise TableError(
                f"A table of recommendations needs the columns {', '.join(wrong)}; found {found}."
            )
        place = F.col("rank").cast("int") if "rank" in found else F.lit(0)
        self._lists = recommendations.select(*_NEEDED, place.alias("place"))
        self._met: DataFrame | None = None

    def fit(self, interactions: DataFrame) -> Self:
        """Learns what was seen, nothing else."""
        self._met = interactions.select("user_id", "item_id").distinct()
        return self

    def recommend(self, users: DataFrame, k: int) -> DataFrame:
        """See `Recommender.recommend`; of an item that a list holds twice the better place counts."""
        lists = self._lists.join(users.select("user_id"), "user_id", "left_semi")
        if self._met is not None:
            lists = lists.join(self._met, ["user_id", "item_id"], "left_anti")
        order = (F.col("place"), F.desc("score"), F.col("item_id"))
        once = Window.partitionBy("user_id", "item_id").orderBy(*order)
        best = Window.partitionBy("user_id").orderBy(*order)
        ranked = (
            lists.withColumn("_copy", F.row_number().over(once))
            .where("_copy = 1")
            .withColumn("rank", F.row_number().over(best))
            .where(F.col("rank") <= k)
        )
        return ranked.select("user_id", "rank", "item_id", "score")

    def unpersist(self) -> None:
        """Nothing is kept in memory; what was seen is forgotten."""
        self._met = None

    def save(self, path: str) -> None:
        """Keeps the lists, and what was seen, at `path`."""
        met = self._lists.select("user_id", "item_id").limit(0) if self._met is None else self._met
        save_frames(
            path, type(self).__name__, {"lists": self._lists, "met": met}, {"fitted": self._met is not None}
        )

    @classmethod
    def load(cls, spark: SparkSession, path: str) -> Self:
        """What `save` kept at `path`."""
        frames, settings = load_frames(spark, path, cls.__name__, ("lists", "met"))
        made = cls(frames["lists"].withColumnRenamed("place", "rank"))
        made._met = frames["met"] if settings["fitted"] else None
        return made
