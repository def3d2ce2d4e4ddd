"""What most people like, what the same people like, and chance."""

from __future__ import annotations

import numpy as np
from pyspark.sql import DataFrame

from benchmarks.quality.arrays import arrays_of, ranked
from benchmarks.quality.window import Window
from vizrec_spark.baselines import ItemCosine, Popularity


def popularity(window: Window) -> DataFrame:
    """The items that most users met."""
    return Popularity().fit(window.known).recommend(window.users, window.depth)


def item_knn(window: Window) -> DataFrame:
    """Item-item cosine on the interactions; 20 neighbours an item."""
    return ItemCosine(neighbors=20).fit(window.known).recommend(window.users, window.depth)


def random_order(window: Window) -> DataFrame:
    """Candidates in random order, another one for each user."""
    arrays = arrays_of(window)
    rng = np.random.default_rng(window.seed)
    return ranked(window, arrays, lambda rows: rng.random((len(rows), len(arrays.candidates))))
