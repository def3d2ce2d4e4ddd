"""Row-wise top-k of score blocks, with ties settled so that every run agrees.

Everywhere a higher score is better, ``-inf`` means "no candidate", NaN is read as ``-inf``, and of two
equal scores the candidate with the smaller key comes first. A result row that has fewer than k candidates
is padded at its end with score ``-inf`` and key ``-1``.
"""

from __future__ import annotations

import numpy as np

from vizrec_spark.kernels.selection import PAD_KEY, Keys, Scores, Selection

__all__ = ["PAD_KEY", "Keys", "Scores", "distinct_topk", "merge_topk", "topk_rows"]


def topk_rows(scores: Scores, k: int) -> tuple[Scores, Keys]:
    """The k best columns of each row of a score block (q × n), best first, ties by ascending column.

    Returns the scores (q × k, the dtype of the input) and the column numbers (q × k int64). `scores` is
    left as it is.

    Raises: ValueError when `scores` is not a two-dimensional array of float32 or float64, or k < 1.
    """
    if scores.ndim != 2 or scores.dtype not in (np.float32, np.float64):
        raise ValueError(f"expected a 2-d array of float32 or float64, got {scores.ndim}-d {scores.dtype}")
    selection = Selection(len(scores), k, scores.dtype.type)
    selection.scan(scores)
    return selection.best()


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
