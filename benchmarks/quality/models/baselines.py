"""What most people like, what the same people like, and chance."""

from __future__ import annotations

import numpy as np
from pyspark.sql import DataFrame

from benchmarks.quality.arrays import arrays_of, ranked
from benchmarks.quality.window import Window
from vizrec_spark.als.validation import mean_ndcg
from vizrec_spark.baselines import ItemCosine, Popularity

_NEIGHBORS = (10, 20, 50)


def popularity(window: Window) -> DataFrame:
    """The items that most users met."""
    return Popularity().fit(window.known).recommend(window.users, window.depth)


def item_knn(window: Window) -> DataFrame:
    """Item-item cosine on the interactions; the number of neighbours an item is the best in tuning."""
    pair = ["user_id", "item_id"]
    train, validation = window.tuning
    wanted = validation.select(*pair).distinct().join(train.select(*pair), pair, "left_anti")
    users = wanted.select("user_id").distinct()

    def value(neighbors: int) -> float:
        lists = ItemCosine(neighbors).fit(train).recommend(users, 10)
        return float(mean_ndcg(lists, wanted, 10).collect()[0].value)

    return ItemCosine(max(_NEIGHBORS, key=value)).fit(window.known).recommend(window.users, window.depth)


def random_order(window: Window) -> DataFrame:
    """Candidates in random order, another one for each user."""
    arrays = arrays_of(window)
    rng = np.random.default_rng(window.seed)
    return ranked(window, arrays, lambda rows: rng.random((len(rows), len(arrays.candidates))))
