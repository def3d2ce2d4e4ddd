"""The other side of a window: what is to be found, and whether a model can have seen it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import DataFrame

from benchmarks.quality.window import Window
from vizrec_spark.als.recommender import AlsRecommender
from vizrec_spark.config.models import TablesConfig
from vizrec_spark.evaluate.leakage import leaked_factors, leaked_interactions, refuse_leaks
from vizrec_spark.evaluate.splits import relevant_items
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.schemas import INTERACTIONS, ITEM_FACTORS


@dataclass(frozen=True)
class Round:
    """A window for the models, and `split` (rows of `interactions` with `part`), which no model is given."""

    window: Window
    split: DataFrame

    @property
    def relevant(self) -> DataFrame:
        """`user_id`, `item_id` to be found, of the catalogue."""
        return relevant_items(self.split).join(self.window.items.select("item_id"), "item_id", "left_semi")

    def refuse_cheats(self) -> None:
        """Looks at all that models were given and at what they have kept in the window's folder: the rows of
        interactions and the items with learned factors. To be called when the models have run.

        Raises: LeakFound when any of it holds what the test part alone knows.
        """
        for source, kind, frame in _learned(self.window):
            leaked = leaked_factors if kind == "factors" else leaked_interactions
            refuse_leaks(f"{self.window.name}, {source}", **{kind: leaked(frame, self.split)})


def _learned(window: Window) -> Iterator[tuple[str, str, DataFrame]]:
    given = (window.known, *window.tuning)
    keys = [frame.select(*INTERACTIONS.key) for frame in given]
    yield "as it was given", "interactions", reduce(DataFrame.union, keys).distinct()
    for folder in sorted(window.folder.glob("*/")):
        place = f"{window.folder.name}/{folder.name}"
        if (folder / "about").exists():
            saved = AlsRecommender.load(window.spark, str(folder))
            yield place, "factors", saved.items
            continue
        tables = TableStore(window.spark, TablesConfig(root=str(folder)), Stamp("", "judge", ""))
        if tables.exists(INTERACTIONS):
            yield place, "interactions", tables.read(INTERACTIONS)
        if tables.exists(ITEM_FACTORS):
            yield place, "factors", tables.read(ITEM_FACTORS)
