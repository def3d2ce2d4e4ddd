"""The protocols: what each user did last, items that nobody has met, and both in one list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from benchmarks.quality.data import looks, positives
from benchmarks.quality.judge import Round
from benchmarks.quality.models.factors import tuned
from benchmarks.quality.window import Window
from vizrec_spark.config import Config
from vizrec_spark.config.models import AlsConfig
from vizrec_spark.evaluate.splits import (
    PART,
    TEST,
    TRAIN,
    VALIDATION,
    cold_items,
    known_before_test,
    part_of,
    relevant_items,
    require_users,
    user_time,
)
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.schemas import (
    COMPARED_ITEMS,
    EMBEDDINGS,
    ENCODERS,
    IMAGES,
    ITEM_NEIGHBORS,
    ITEMS,
    NEAR_DUPLICATES,
    SIMILARITY_QUALITY,
)

CONTENT = (
    ITEMS,
    IMAGES,
    ENCODERS,
    EMBEDDINGS,
    ITEM_NEIGHBORS,
    SIMILARITY_QUALITY,
    COMPARED_ITEMS,
    NEAR_DUPLICATES,
)
_LEAST_USERS = 30


@dataclass(frozen=True)
class Data:
    """The whole of what is there; `folder` is scratch, and `content` holds the tables that know nothing of users."""

    config: Config
    tables: TableStore
    content: TableStore
    folder: Path
    depth: int

    @classmethod
    def apart(cls, spark: SparkSession, config: Config, tables: TableStore, folder: Path, depth: int) -> Data:
        """Sets the content apart, as shallow clones below `folder`."""
        place = config.tables.model_copy(update={"root": str(folder / "content"), "catalog": None})
        content = TableStore(spark, place, tables.stamp)
        for table in CONTENT:
            if tables.exists(table):
                content.clone_from(table, tables)
        return cls(config.model_copy(update={"tables": place}), tables, content, folder, depth)

    def round(
        self,
        name: str,
        split: DataFrame,
        tuning: tuple[DataFrame, DataFrame],
        als: AlsConfig,
        seed: int = 0,
    ) -> Round:
        """`split` (rows of `interactions` with `part`) as a window for models, and what they are judged by."""
        spark = split.sparkSession
        items = self.content.read(ITEMS)
        there = items.select("item_id")
        known = known_before_test(split)
        relevant = relevant_items(split).join(there, "item_id", "left_semi")  # as stage `evaluate` does
        require_users(relevant, _LEAST_USERS, name)
        cold = name.startswith("cold_items")
        met = part_of(split, TEST).select("item_id").distinct()
        window = Window(
            name=name,
            spark=spark,
            config=self.config,
            tables=self.content,
            folder=self.folder / name,
            known=known,
            tuning=tuning,
            users=relevant.select("user_id").distinct(),
            items=items,
            vectors=looks(self.content, self.config),
            candidates=met if cold else items.select("item_id"),
            als=als,
            depth=self.depth,
            cold=cold,
            seed=seed,
        )
        return Round(window, split)


def user_time_round(data: Data) -> Round:
    """Users with at least 5 interactions: their last 20 % for test, the 10 % before for validation, the rest for
    training. ALS is tuned on validation, and every model then learns from both."""
    split = user_time(
        positives(data.tables), test_share=0.2, validation_share=0.1, min_interactions=5
    ).persist()
    tuning = part_of(split, TRAIN), part_of(split, VALIDATION)
    return data.round("user_time", split, tuning, _settings(data, "user_time", tuning))


def cold_items_rounds(data: Data, seeds: int) -> Iterator[Round]:
    """10 % of the items lose all their interactions and are ranked among themselves for the users who met them; a round
    a seed. ALS and item-kNN are tuned within the training part of each draw, on what its users did last: settings tuned
    on the whole log would know the cold items."""
    log = positives(data.tables).persist()
    for seed in range(seeds):
        split = cold_items(log, share=0.1, seed=seed).persist()
        own = user_time(part_of(split, TRAIN), test_share=0.2, validation_share=0.0).persist()
        tuning = part_of(own, TRAIN), part_of(own, TEST)
        name = f"cold_items_{seed}"
        yield data.round(name, split, tuning, _settings(data, name, tuning), seed)
        own.unpersist()


def mixed_items_rounds(data: Data, seeds: int) -> Iterator[Round]:
    """10 % of the items lose all their interactions; to be found are these and, as in `user_time`, what each user did
    last with the others; all items stand in one list. A round a seed."""
    log = positives(data.tables).persist()
    for seed in range(seeds):
        drawn = cold_items(log, share=0.1, seed=seed)
        warm = user_time(part_of(drawn, TRAIN), test_share=0.2, validation_share=0.1, min_interactions=5)
        split = warm.unionByName(drawn.where(F.col(PART) == TEST)).persist()
        tuning = part_of(split, TRAIN), part_of(split, VALIDATION)
        name = f"mixed_items_{seed}"
        yield data.round(name, split, tuning, _settings(data, name, tuning), seed)


def _settings(data: Data, name: str, tuning: tuple[DataFrame, DataFrame]) -> AlsConfig:
    settings, value = tuned(*tuning, data.config.als.model_copy(update={"rank": 16}))
    print(
        f"{name}: ALS tuned on validation, nDCG@10 {value:.4f} with regularization {settings.regularization} and "
        f"alpha {settings.alpha}",
        flush=True,
    )
    return settings
