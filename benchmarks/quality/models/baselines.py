"""What most people like, what the same people like, and chance."""

from __future__ import annotations

import numpy as np
import scipy.sparse
from pyspark.sql import DataFrame

from benchmarks.quality.arrays import Floats, arrays_of, met_in, ranked
from benchmarks.quality.window import Window
from vizrec_spark.als.validation import mean_ndcg
from vizrec_spark.baselines import ItemCosine, Popularity
from vizrec_spark.kernels.ranking import ndcg_at_k
from vizrec_spark.kernels.topk import topk_rows

_NEIGHBORS = (10, 20, 50, 100, 200, 500)
_PENALTIES = (30.0, 100.0, 300.0, 1000.0, 3000.0)


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


def ease(window: Window) -> DataFrame:
    """A ridge regression of each item on all others (EASE: Steck 2019, "Embarrassingly Shallow Autoencoders"); the
    penalty is the best in tuning."""
    train, validation = window.tuning
    part = arrays_of(window, train)
    wanted = (met_in(part, validation) - part.known).maximum(0).tocsr()
    judged = np.flatnonzero(wanted.getnnz(axis=1))
    known = part.known[judged].toarray()
    relevant = wanted[judged].toarray() > 0

    def value(penalty: float) -> float:
        _, best = topk_rows(np.where(known > 0, -np.inf, known @ _ease(part.known, penalty)), 10)
        hits = np.take_along_axis(relevant, best, axis=1)
        return float(np.nanmean(ndcg_at_k(hits, relevant.sum(axis=1))))

    arrays = arrays_of(window)
    weights = _ease(arrays.known, max(_PENALTIES, key=value))[:, arrays.candidates]
    return ranked(window, arrays, lambda rows: arrays.known[rows] @ weights)


def _ease(known: scipy.sparse.csr_matrix, penalty: float) -> Floats:
    """The weights (n, n) of the regression, 0 on the diagonal."""
    inverse = np.linalg.inv((known.T @ known).toarray() + penalty * np.eye(known.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return np.asarray(weights)


def random_order(window: Window) -> DataFrame:
    """Candidates in random order, another one for each user."""
    arrays = arrays_of(window)
    rng = np.random.default_rng(window.seed)
    return ranked(window, arrays, lambda rows: rng.random((len(rows), len(arrays.candidates))))
