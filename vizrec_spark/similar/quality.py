"""How good an approximate run is: its recall against the exact neighbours of a sample of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.errors import RecallError
from vizrec_spark.kernels.selection import PAD_KEY
from vizrec_spark.similar.scoring import ROUNDING, Floats, Metric, Nearest

BOOTSTRAP_SAMPLES = 2000


@dataclass(frozen=True)
class Recall:
    """mean and its interval [lo, hi], each 0 to 1, over `n_queries` queries."""

    mean: float
    lo: float
    hi: float
    n_queries: int


UNMEASURED = Recall(1.0, 1.0, 1.0, 0)
"""Where there is nothing to miss: all pairs were compared, or no query has a true neighbour."""


def require_recall(recall: Recall, method: str, setting: str, config: SimilarConfig) -> None:
    """Raises RecallError when the measured recall is below the target."""
    if recall.mean < config.target_recall:
        raise RecallError(
            f"Look-alikes by {method} ({setting}) have recall@{config.k} {recall.mean:.3f} on {recall.n_queries} "
            f"items, similar.target_recall is {config.target_recall}: nothing is published. Set similar.method: auto, "
            "or raise similar.probes, similar.tables or similar.rerank."
        )


def query_counts(n_items: int, tuning: int, judging: int) -> tuple[int, int]:
    """How many items to tune on and how many others to judge on: as many as asked for, at most half of all each."""
    judged = min(judging, max(1, n_items // 2))
    return min(tuning, max(1, n_items - judged)), judged


def recalls(found: NDArray[np.int64], score: Floats, true: Nearest, metric: Metric) -> NDArray[np.float64]:
    """The recall of each query that has a true neighbour (0 to 1), in order.

    found: the keys of its neighbours (q × m, `PAD_KEY` for none); score: theirs, worked out anew from the vectors of
    those keys, so that a list is not taken at its word; true: the exact neighbours. One counts as found if it is among
    the true ones, or if it is as near as the last of them (equally near ones are interchangeable: duplicates of one
    picture, say), and however often it stands in the list it counts once.
    """
    there = true.keys != PAD_KEY
    asked = there.any(axis=1)
    true_score = true.score(metric)[asked]
    bar = np.where(there[asked], true_score, np.inf).min(axis=1, keepdims=True)
    order = np.argsort(found[asked], axis=1, kind="stable")
    keys = np.take_along_axis(found[asked], order, axis=1)
    first = (keys != PAD_KEY) & (np.diff(keys, axis=1, prepend=PAD_KEY - 1) != 0)
    near_enough = (
        np.take_along_axis(score[asked], order, axis=1) >= bar - np.maximum(np.abs(bar), 1e-3) * ROUNDING
    )
    among = np.array([np.isin(*rows) for rows in zip(keys, true.keys[asked], strict=True)], dtype=bool)
    hits = first & (near_enough | among.reshape(keys.shape))
    wanted = there[asked].sum(axis=1)
    return np.minimum(hits.sum(axis=1), wanted) / wanted


def lists_of_rows(query: NDArray[np.int64], keys: NDArray[np.int64], queries: int) -> NDArray[np.int64]:
    """Rows of (query 0 to `queries` − 1, key) as one list a query (queries × longest, `PAD_KEY` behind its end)."""
    order = np.argsort(query, kind="stable")
    query, keys = query[order], keys[order]
    place = np.arange(len(query)) - np.searchsorted(query, query)
    table = np.full((queries, int(place.max(initial=0)) + 1), PAD_KEY, dtype=np.int64)
    table[query, place] = keys
    return table


def recall_interval(recalls: Sequence[float], *, confidence: float = 0.95, seed: int = 0) -> Recall:
    """The mean of per-query recalls with a bootstrap interval that draws whole queries; lo <= mean <= hi.

    The neighbours of one query are found or missed together, so queries are the units and not pairs
    (percentile bootstrap, Efron 1979). Where all recalls are equal the bootstrap has nothing to draw from, and
    there alone the Wilson interval of that share of so many trials takes its place (Wilson 1927).

    Raises: ValueError when there is no query.
    """
    values = np.asarray(recalls, dtype=np.float64)
    if values.size == 0:
        raise ValueError("expected at least one query to take the recall from, got none")
    mean = float(values.mean())
    if np.ptp(values) == 0:
        lo, hi = _wilson(mean, values.size, confidence)
    else:
        generator = np.random.default_rng(seed)
        drawn = generator.integers(values.size, size=(BOOTSTRAP_SAMPLES, values.size))
        tail = (1 - confidence) / 2
        lo, hi = np.quantile(values[drawn].mean(axis=1), [tail, 1 - tail])
    # Rounding may put an end that is equal to the mean a last bit past it.
    return Recall(mean, min(mean, float(lo)), max(mean, float(hi)), values.size)


def _wilson(share: float, n: int, confidence: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))
