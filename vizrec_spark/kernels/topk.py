"""Row-wise top-k of score blocks, with ties settled so that every run agrees.

Everywhere a higher score is better, ``-inf`` means "no candidate", NaN is read as ``-inf``, and of two
equal scores the candidate with the smaller key comes first. A result row that has fewer than k candidates
is padded at its end with score ``-inf`` and key ``-1``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PAD_KEY = -1
"""The key that stands where a row has no further candidate."""

Scores = NDArray[np.floating]
Keys = NDArray[np.int64]


def topk_rows(scores: Scores, k: int) -> tuple[Scores, Keys]:
    """The k best columns of each row of a score block (q × n), best first, ties by ascending column.

    Returns the scores (q × k, the dtype of the input) and the column numbers (q × k int64). `scores` is
    left as it is. The k-th value comes from a partition of the values alone, which numpy does several
    times faster than a partition of indices; the columns are then those that reach it.

    Raises: ValueError when `scores` is not a floating two-dimensional array or k < 1.
    """
    if scores.ndim != 2 or not np.issubdtype(scores.dtype, np.floating):
        raise ValueError(f"expected a 2-d floating array, got {scores.ndim}-d {scores.dtype}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    rows, columns = scores.shape
    kept = min(k, columns)
    values = np.full((rows, k), -np.inf, dtype=scores.dtype)
    keys = np.full((rows, k), PAD_KEY, dtype=np.int64)
    if rows == 0 or kept == 0:
        return values, keys
    if np.isnan(scores.max()):
        scores = np.where(np.isnan(scores), -np.inf, scores).astype(scores.dtype, copy=False)
    chosen = _reach_kth(scores, kept)
    found = np.nonzero(chosen)[1].reshape(rows, kept)
    best = np.take_along_axis(scores, found, axis=1)
    # The columns stand in ascending order, so a stable sort leaves equal scores in column order.
    order = np.argsort(-best, axis=1, kind="stable")
    values[:, :kept] = np.take_along_axis(best, order, axis=1)
    keys[:, :kept] = np.take_along_axis(found, order, axis=1)
    keys[np.isneginf(values)] = PAD_KEY
    return values, keys


def _reach_kth(scores: Scores, k: int) -> NDArray[np.bool_]:
    """A mask with exactly k true columns a row: the best, and of those equal to the k-th the leftmost."""
    columns = scores.shape[1]
    if k == columns:
        return np.ones(scores.shape, dtype=bool)
    kth = np.partition(scores, columns - k, axis=1)[:, columns - k, None]
    chosen = scores >= kth
    crowded = np.flatnonzero(np.count_nonzero(chosen, axis=1) > k)
    if crowded.size:
        block, bar = scores[crowded], kth[crowded]
        above, level = block > bar, block == bar
        room = k - np.count_nonzero(above, axis=1)
        level &= np.cumsum(level, axis=1) <= room[:, None]
        chosen[crowded] = above | level
    return chosen


def merge_topk(
    values: Scores, keys: Keys, more_values: Scores, more_keys: Keys, k: int
) -> tuple[Scores, Keys, Keys]:
    """The k best of two partial lists per row (q × a and q × b), best first, ties by ascending key.

    Returns the scores, the keys, and where each stood in the two lists laid side by side (0 to a + b − 1,
    ``-1`` for padding), each q × k. The two lists of a row must not share a key (`distinct_topk` is for
    those that do).
    """
    return _best_of(
        np.concatenate([values, more_values], axis=1), np.concatenate([keys, more_keys], axis=1), k
    )


def distinct_topk(values: Scores, keys: Keys, k: int) -> tuple[Scores, Keys, Keys]:
    """The k best entries of each row (q × m) when a key may stand in it several times.

    Returns the scores, the keys and the columns they came from, each q × k. Of a repeated key the highest
    score counts, once. Entries with score ``-inf`` count as padding.
    """
    by_key = np.lexsort((-values, keys), axis=-1)
    sorted_keys = np.take_along_axis(keys, by_key, axis=1)
    sorted_values = np.take_along_axis(values, by_key, axis=1)
    sorted_values[:, 1:][sorted_keys[:, 1:] == sorted_keys[:, :-1]] = -np.inf
    best, best_keys, columns = _best_of(sorted_values, sorted_keys, k)
    if by_key.shape[1]:
        origin = np.take_along_axis(by_key, np.maximum(columns, 0), axis=1)
        columns = np.where(columns == PAD_KEY, PAD_KEY, origin)
    return best, best_keys, columns


def _best_of(values: Scores, keys: Keys, k: int) -> tuple[Scores, Keys, Keys]:
    values = np.where(np.isnan(values), -np.inf, values).astype(values.dtype, copy=False)
    order = np.lexsort((keys, -values), axis=-1)[:, :k]
    best = np.take_along_axis(values, order, axis=1)
    best_keys = np.take_along_axis(keys, order, axis=1)
    padding = ((0, 0), (0, k - order.shape[1]))
    best = np.pad(best, padding, constant_values=-np.inf)
    missing = np.isneginf(best)
    best_keys = np.where(missing, PAD_KEY, np.pad(best_keys, padding, constant_values=PAD_KEY))
    return best, best_keys, np.where(missing, PAD_KEY, np.pad(order, padding, constant_values=PAD_KEY))
