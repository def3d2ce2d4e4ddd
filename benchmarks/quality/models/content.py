"""Models that know items by their content alone, and so can rank items that nobody has met."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from benchmarks.quality.arrays import Arrays, Floats, arrays_of, attributes_of, ranked, vectors_of
from benchmarks.quality.models.factors import learned
from benchmarks.quality.window import Window
from vizrec_spark.kernels.ranking import ndcg_at_k
from vizrec_spark.kernels.topk import topk_rows

_PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


def visual(window: Window) -> DataFrame:
    """Cosine of an item's looks with the mean looks of all that the user met; the catalogue's mean taken off."""
    arrays = arrays_of(window)
    looks, pictured = vectors_of(window, arrays)
    return _by_profile(window, arrays, looks, pictured)


def visual_raw(window: Window) -> DataFrame:
    """The same without taking the mean off: what looks are worth where this step is forgotten."""
    arrays = arrays_of(window)
    table = window.vectors.orderBy("item_id").toArrow()
    place = pd.Index(arrays.items).get_indexer(table["item_id"].to_pandas())
    raw = table["vector"].combine_chunks().flatten().to_numpy().reshape(len(place), -1)
    looks, pictured = np.zeros((len(arrays.items), raw.shape[1])), np.zeros(len(arrays.items), dtype=bool)
    looks[place] = raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-12)
    pictured[place] = True
    return _by_profile(window, arrays, looks, pictured)


def ridge_picture(window: Window) -> DataFrame:
    """ALS factors of an item predicted from its looks by ridge regression."""
    arrays = arrays_of(window)
    return _by_ridge(window, arrays, vectors_of(window, arrays)[0])


def ridge_attributes(window: Window) -> DataFrame:
    """ALS factors of an item predicted from categories, year and price by ridge regression."""
    arrays = arrays_of(window)
    return _by_ridge(window, arrays, attributes_of(window, arrays))


def _by_profile(window: Window, arrays: Arrays, looks: Floats, pictured: NDArray[np.bool_]) -> DataFrame:
    offered = looks[arrays.candidates]

    def score(rows: NDArray[np.int64]) -> Floats:
        scores = (arrays.known[rows] @ looks) @ offered.T
        scores[:, ~pictured[arrays.candidates]] = -np.inf
        return scores

    return ranked(window, arrays, score)


def _by_ridge(window: Window, arrays: Arrays, content: Floats) -> DataFrame:
    model = learned(window)
    users, _ = _matrix(model.users, "user_id", arrays.users)
    items, warm = _matrix(model.items, "item_id", arrays.items)
    penalty = _penalty(arrays, users, items, content, warm, window.seed)
    predicted = _ridge(content[warm], items[warm], penalty)(content[arrays.candidates])
    return ranked(window, arrays, lambda rows: users[rows] @ predicted.T)


def _penalty(
    arrays: Arrays, users: Floats, items: Floats, content: Floats, warm: NDArray[np.bool_], seed: int
) -> float:
    """The penalty whose predictions rank unseen warm items best, a fifth of them held out at a time."""
    fold = np.random.default_rng(seed).permutation(np.arange(len(warm)) % 5)
    value = []
    for penalty in _PENALTIES:
        found = []
        for held in range(5):
            out = warm & (fold == held)
            predicted = _ridge(content[warm & ~out], items[warm & ~out], penalty)(content[out])
            _, best = topk_rows(np.ascontiguousarray(users @ predicted.T), min(10, int(out.sum())))
            wanted = arrays.known[:, out].toarray() > 0
            hits = np.take_along_axis(wanted, best, axis=1)
            found.append(ndcg_at_k(hits, wanted.sum(axis=1)))
        value.append(np.nanmean(np.concatenate(found)))
    return _PENALTIES[int(np.argmax(value))]


def _ridge(x: Floats, y: Floats, penalty: float):  # type: ignore[no-untyped-def]
    """Least squares with a penalty on the square of the weights, the means taken off both sides."""
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    centred = x - x_mean
    if len(x) < x.shape[1]:  # the dual has as many unknowns as rows
        weights = centred.T @ np.linalg.solve(centred @ centred.T + penalty * np.eye(len(x)), y - y_mean)
    else:
        weights = np.linalg.solve(
            centred.T @ centred + penalty * np.eye(x.shape[1]), centred.T @ (y - y_mean)
        )
    return lambda new: (new - x_mean) @ weights + y_mean


def _matrix(frame: DataFrame, name: str, ids: NDArray[np.object_]) -> tuple[Floats, NDArray[np.bool_]]:
    table = frame.select(name, "factors").toArrow()
    place = pd.Index(ids).get_indexer(table[name].to_pandas())
    rows = table["factors"].combine_chunks().flatten().to_numpy().reshape(len(place), -1)
    matrix, there = np.zeros((len(ids), rows.shape[1])), np.zeros(len(ids), dtype=bool)
    matrix[place[place >= 0]] = rows[place >= 0]
    there[place[place >= 0]] = True
    return matrix, there
