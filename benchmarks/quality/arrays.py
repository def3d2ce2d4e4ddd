"""A window as arrays, for the models that are a few lines of linear algebra on the driver.

Bound: users × items bits for what is known, and 8 bytes × 512 users × candidates for scores at a time: a benchmark's
sizes, not a shop's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import scipy.sparse
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from benchmarks.quality.window import Window
from vizrec_spark.kernels.topk import PAD_KEY, topk_rows

_USERS = 512
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Arrays:
    """users (u,), items (n,) ids in ascending order; known (u, n) sparse 0/1; candidates: positions of items."""

    users: NDArray[np.object_]
    items: NDArray[np.object_]
    known: scipy.sparse.csr_matrix
    candidates: NDArray[np.int64]


def arrays_of(window: Window, seen: DataFrame | None = None) -> Arrays:
    """`seen`: rows of interactions; None: all that is known."""
    log = (seen if seen is not None else window.known).select("user_id", "item_id").distinct().toPandas()
    wanted = window.users.toPandas()["user_id"]
    users = np.array(sorted({*log["user_id"], *wanted}), dtype=object)
    items = np.array(sorted(window.items.select("item_id").toPandas()["item_id"]), dtype=object)
    row, column = pd.Index(users).get_indexer(log["user_id"]), pd.Index(items).get_indexer(log["item_id"])
    known = scipy.sparse.csr_matrix((np.ones(len(log)), (row, column)), shape=(len(users), len(items)))
    candidates = pd.Index(items).get_indexer(sorted(window.candidates.toPandas()["item_id"]))
    return Arrays(users, items, known, candidates)


def met_in(arrays: Arrays, rows: DataFrame) -> scipy.sparse.csr_matrix:
    """The pairs of `rows` (of interactions) as `Arrays.known`; users that it does not have are left out."""
    pairs = rows.select("user_id", "item_id").distinct().toPandas()
    row = pd.Index(arrays.users).get_indexer(pairs["user_id"])
    column = pd.Index(arrays.items).get_indexer(pairs["item_id"])
    there = (row >= 0) & (column >= 0)
    return scipy.sparse.csr_matrix(
        (np.ones(int(there.sum())), (row[there], column[there])), shape=arrays.known.shape
    )


def vectors_of(window: Window, arrays: Arrays) -> tuple[Floats, NDArray[np.bool_]]:
    """Unit vectors (n, d) with the mean of all pictured items taken off, and which items have a picture."""
    table = window.vectors.orderBy("item_id").toArrow()
    place = pd.Index(arrays.items).get_indexer(table["item_id"].to_pandas())
    raw = table["vector"].combine_chunks().flatten().to_numpy().reshape(len(place), -1).astype(np.float64)
    vectors = np.zeros((len(arrays.items), raw.shape[1]))
    centred = raw - raw.mean(axis=0)
    vectors[place] = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    pictured = np.zeros(len(arrays.items), dtype=bool)
    pictured[place] = True
    return vectors, pictured


def attributes_of(window: Window, arrays: Arrays) -> Floats:
    """(n, a): categories as shares of 1 an item, the price, and the year as its decade; whichever the catalogue has."""
    decade = F.floor(F.try_element_at("attributes", F.lit("year")).try_cast("double") / 10).cast("string")
    told = window.items.select("item_id", "categories", "price", decade.alias("decade")).toPandas()
    told = told.set_index("item_id").loc[arrays.items]
    blocks = []
    lists = [list(c) for c in told["categories"]]
    names = sorted({c for own in lists for c in own})
    of = {name: i for i, name in enumerate(names)}
    shares = np.zeros((len(lists), len(names)))
    for row, own in enumerate(lists):
        for c in own:
            shares[row, of[c]] = 1 / np.sqrt(len(own))
    blocks.append(shares)
    if told["decade"].notna().any():
        blocks.append(pd.get_dummies(told["decade"]).to_numpy(dtype=np.float64))
    if told["price"].notna().any():
        logged = np.log1p(told["price"].astype(float))
        scaled = (logged - logged.mean()) / max(float(logged.std()), 1e-12)
        blocks.append(scaled.fillna(0.0).to_numpy()[:, None])
    return np.hstack(blocks)


def ranked(window: Window, arrays: Arrays, score: Callable[[NDArray[np.int64]], Floats]) -> DataFrame:
    """`user_id`, `items`: the best candidates by `score(rows)` (rows, candidates), what is known left out; ``-inf``
    is no candidate."""
    wanted = set(window.users.toPandas()["user_id"])
    rows = np.flatnonzero([user in wanted for user in arrays.users])
    users, lists = [], []
    depth = min(window.depth, len(arrays.candidates))
    for first in range(0, len(rows), _USERS):
        mine = rows[first : first + _USERS]
        scores = np.asarray(score(mine), dtype=np.float64)
        scores[arrays.known[mine][:, arrays.candidates].toarray() > 0] = -np.inf
        _, best = topk_rows(scores, depth)
        users += list(arrays.users[mine])
        lists += [list(arrays.items[arrays.candidates[own[own != PAD_KEY]]]) for own in best]
    table = pa.table(
        {"user_id": pa.array(users, pa.string()), "items": pa.array(lists, pa.list_(pa.string()))}
    )
    return window.spark.createDataFrame(table)
