"""How good ranked lists are, from where in them the relevant items stand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Hits = NDArray[np.bool_]
Ints = NDArray[np.integer]
Floats = NDArray[np.float64]


def ndcg_at_k(hits: Hits, relevant: Ints) -> Floats:
    """Normalised discounted cumulative gain of each list, (users,) float64 from 0 to 1; NaN without relevant items.

    hits: (users, k), whether the item at rank 1, 2, ... k is relevant (false behind the end of a shorter list);
    relevant: (users,), how many items are relevant in all. With binary gains ::

        DCG = Σ over hits 1 / log2(1 + rank),    nDCG = DCG / Σ for rank 1 to min(k, relevant) of 1 / log2(1 + rank)

    (Järvelin and Kekäläinen 2002, "Cumulated Gain-Based Evaluation of IR Techniques").

    Raises: ValueError when the shapes do not fit, or a list has more hits than relevant items.
    """
    _check(hits, relevant)
    discounts = 1.0 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(relevant, hits.shape[1])]
    return _ratio(hits @ discounts, ideal)


def recall_at_k(hits: Hits, relevant: Ints) -> Floats:
    """Share of its relevant items that each list holds, (users,) float64 from 0 to 1; NaN without relevant items.

    Arguments and errors as for `ndcg_at_k`.
    """
    _check(hits, relevant)
    return _ratio(hits.sum(axis=1).astype(np.float64), relevant.astype(np.float64))


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _check(hits: Hits, relevant: Ints) -> None:
    if hits.ndim != 2 or hits.dtype != np.bool_ or relevant.shape != (len(hits),) or hits.shape[1] < 1:
        raise ValueError(
            f"expected hits (users, k) of bool and relevant (users,), got {hits.shape} {hits.dtype} and "
            f"{relevant.shape}"
        )
    if (hits.sum(axis=1) > relevant).any():
        raise ValueError("a list has more hits than there are relevant items: is an item in it twice?")
