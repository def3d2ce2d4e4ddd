"""What most people like, or liked of late."""

from __future__ import annotations

from typing import Self

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vizrec_spark.errors import TableError
from vizrec_spark.retrieval import SharedFactors, share_factors, top_k
from vizrec_spark.tables.frames import load_frames, save_frames
from vizrec_spark.tables.liking import liking


class Popularity:
    """The items that most users like, the same for all but for what each has seen; strangers get them too.

    score = number of users who like the item (`liking` above 0: a low latest rating counts against all else) and had an
    event of `weight` above 0 on it in the last `days` before the latest event of all (None: at any time). Items without
    one are not offered.
    """

    def __init__(self, days: float | None = None) -> None:
        """Raises: ValueError when `days` is not above 0."""
        if days is not None and not days > 0:
            raise ValueError(f"days must be above 0, got {days}")
        self.days = days
        self._frames: dict[str, DataFrame] = {}
        self._shared: SharedFactors | None = None

    def fit(self, interactions: DataFrame) -> Self:
        """Counts; see `Recommender.fit`."""
        met = interactions.groupBy("user_id", "item_id").agg(
            liking().alias("liking"),
            F.max(F.when(F.col("weight") > 0, F.col("timestamp"))).alias("timestamp"),
        )
        liked = met.where("liking > 0")
        if self.days is not None:
            last = interactions.agg(F.max("timestamp").alias("_last"))
            age = F.col("_last").cast("double") - F.col("timestamp").cast("double")
            liked = liked.crossJoin(F.broadcast(last)).where(age <= self.days * 86_400.0)
        people = liked.groupBy("item_id").agg(F.count(F.lit(1)).alias("people"))
        # A count is an inner product of one factor: the retrieval does the rest.
        self._frames = {
            "items": people.select("item_id", F.array(F.col("people").cast("float")).alias("factors")),
            "met": interactions.select("user_id", "item_id").distinct(),
        }
        self._shared = share_factors(self._frames["items"])
        return self

    def recommend(self, users: DataFrame, k: int) -> DataFrame:
        """See `Recommender.recommend`."""
        if self._shared is None:
            raise TableError("This recommender has learned nothing yet: call fit or load first.")
        everyone = users.select("user_id", F.array(F.lit(1.0).cast("float")).alias("factors"))
        seen = self._frames["met"].join(users.select("user_id"), "user_id", "left_semi")
        return top_k(everyone, self._shared, k, seen=seen)

    def unpersist(self) -> None:
        """Nothing is kept in memory; what was learned is forgotten."""
        self._frames, self._shared = {}, None

    def save(self, path: str) -> None:
        """Keeps the counts and what was seen at `path`."""
        if self._shared is None:
            raise TableError("This recommender has learned nothing yet: call fit or load first.")
        save_frames(path, type(self).__name__, self._frames, {"days": self.days})

    @classmethod
    def load(cls, spark: SparkSession, path: str) -> Self:
        """What `save` kept at `path`."""
        frames, settings = load_frames(spark, path, cls.__name__, ("items", "met"))
        made = cls(**settings)
        made._frames, made._shared = frames, share_factors(frames["items"])
        return made
