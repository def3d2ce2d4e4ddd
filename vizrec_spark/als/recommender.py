"""ALS behind the interface of all recommenders."""

from __future__ import annotations

from typing import Self

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vizrec_spark.als.id_map import indexed, new_ids
from vizrec_spark.als.prepare import prepared
from vizrec_spark.als.train import chosen_blocks, train_als, under_own_ids
from vizrec_spark.config.models import AlsConfig
from vizrec_spark.errors import TableError
from vizrec_spark.retrieval import SharedFactors, share_factors, top_k
from vizrec_spark.tables.frames import load_frames, save_frames
from vizrec_spark.tables.schemas import ID_MAP

_FRAMES = ("users", "items", "met")


class AlsRecommender:
    """MLlib's ALS on preferences. Strangers, who have no factors, get nothing.

    `users` (`user_id`, `factors`), `items` (`item_id`, `factors`) and `met` (`user_id`, `item_id`: what a user had
    an interaction with) are there after `fit` or `load`. What `fit` keeps in memory, `unpersist` lets go.
    """

    def __init__(self, config: AlsConfig | None = None) -> None:
        self.config = config or AlsConfig()
        self._frames: dict[str, DataFrame] = {}
        self._shared: SharedFactors | None = None

    def fit(self, interactions: DataFrame) -> Self:
        """Learns from rows of table `interactions`; the Spark context must have a checkpoint directory."""
        spark = interactions.sparkSession
        self.unpersist()
        with prepared(interactions, self.config) as ready:
            kinds = [
                ready.frame.select(F.lit(kind).alias("kind"), F.col(f"{kind}_id").alias("id"))
                for kind in ("user", "item")
            ]
            numbered = new_ids(kinds[0].union(kinds[1]), spark.createDataFrame([], ID_MAP.schema)).persist()
            try:
                made = {"met": interactions.select("user_id", "item_id").distinct()}
                if ready.size == 0:
                    for name, kind in (("users", "user"), ("items", "item")):
                        made[name] = spark.createDataFrame([], f"{kind}_id string, factors array<float>")
                else:
                    blocks = self.config.blocks or chosen_blocks(ready.size)
                    trained = train_als(
                        indexed(ready.frame, numbered), self.config.model_copy(update={"blocks": blocks})
                    )
                    made["users"] = under_own_ids(trained.users, numbered, "user", "").drop("model_id")
                    made["items"] = under_own_ids(trained.items, numbered, "item", "").drop("model_id")
                self._frames = {name: frame.persist() for name, frame in made.items()}
                for frame in self._frames.values():
                    frame.count()
            except BaseException:
                self.unpersist()
                raise
            finally:
                numbered.unpersist()
        return self

    @property
    def users(self) -> DataFrame:
        """`user_id`, `factors` (array<float>)."""
        return self._frame("users")

    @property
    def items(self) -> DataFrame:
        """`item_id`, `factors` (array<float>)."""
        return self._frame("items")

    def recommend(self, users: DataFrame, k: int) -> DataFrame:
        """The k unseen items of largest inner product with each user's factors (see `Recommender.recommend`)."""
        if self._shared is None:
            self._shared = share_factors(self.items)
        asked = users.select("user_id").join(self.users, "user_id")
        seen = self._frame("met").join(users.select("user_id"), "user_id", "left_semi")
        return top_k(asked, self._shared, k, seen=seen)

    def save(self, path: str) -> None:
        """Keeps factors, what was met, and the settings at `path`."""
        frames = {name: self._frame(name) for name in _FRAMES}
        save_frames(path, type(self).__name__, frames, self.config.model_dump(mode="json"))

    @classmethod
    def load(cls, spark: SparkSession, path: str) -> Self:
        """What `save` kept at `path`."""
        frames, settings = load_frames(spark, path, cls.__name__, _FRAMES)
        made = cls(AlsConfig.model_validate(settings))
        made._frames = frames
        return made

    def unpersist(self) -> None:
        """Lets go of what `fit` keeps in memory; the recommender has to be fitted again."""
        for frame in self._frames.values():
            frame.unpersist()
        self._frames, self._shared = {}, None

    def _frame(self, name: str) -> DataFrame:
        if name not in self._frames:
            raise TableError("This recommender has learned nothing yet: call fit or load first.")
        return self._frames[name]
