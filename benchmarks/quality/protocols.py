"""The two protocols: what each user did last, and items that nobody has met."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame

from benchmarks.quality.data import looks, positives
from benchmarks.quality.models.factors import tuned
from benchmarks.quality.window import Window
from vizrec_spark.config import Config
from vizrec_spark.config.models import AlsConfig
from vizrec_spark.evaluate.splits import (
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
from vizrec_spark.tables.schemas import ITEMS

_LEAST_USERS = 30


@dataclass(frozen=True)
class Data:
    """The whole of what is there; `folder` is scratch."""

    config: Config
    tables: TableStore
    folder: Path
    depth: int

    def window(self, name: str, split: DataFrame, als: AlsConfig, seed: int = 0) -> Window:
        """`split` (rows of `interactions` with `part`), from its training side."""
        spark = split.sparkSession
        known, relevant = known_before_test(split), relevant_items(split)
        require_users(relevant, _LEAST_USERS, name)
        items = self.tables.read(ITEMS)
        cold = name.startswith("cold_items")
        met = part_of(split, TEST).select("item_id").distinct()
        return Window(
            name=name,
            spark=spark,
            config=self.config,
            tables=self.tables,
            folder=self.folder / name,
            train=part_of(split, TRAIN),
            validation=part_of(split, VALIDATION),
            known=known,
            relevant=relevant,
            users=relevant.select("user_id").distinct(),
            items=items,
            vectors=looks(self.tables, self.config),
            candidates=met if cold else items.select("item_id"),
            als=als,
            depth=self.depth,
            cold=cold,
            seed=seed,
        )


def user_time_window(data: Data) -> Window:
    """Users with at least 5 interactions: their last 20 % for test, the 10 % before for validation, the rest for
    training. ALS is tuned on validation, and every model then learns from both."""
    split = user_time(
        positives(data.tables), test_share=0.2, validation_share=0.1, min_interactions=5
    ).persist()
    base = data.config.als.model_copy(update={"rank": 16})
    settings, value = tuned(part_of(split, TRAIN), part_of(split, VALIDATION), base)
    print(
        f"user_time: ALS tuned on validation, nDCG@10 {value:.4f} with regularization {settings.regularization} and "
        f"alpha {settings.alpha}",
        flush=True,
    )
    return data.window("user_time", split, settings)


def cold_items_windows(data: Data, seeds: int) -> Iterator[Window]:
    """10 % of the items lose all their interactions and are ranked among themselves for the users who met them; a
    window a seed. ALS has 16 factors and its defaults: settings tuned on the whole log would know the cold items."""
    log = positives(data.tables).persist()
    settings = data.config.als.model_copy(update={"rank": 16})
    for seed in range(seeds):
        split = cold_items(log, share=0.1, seed=seed).persist()
        yield data.window(f"cold_items_{seed}", split, settings, seed)
