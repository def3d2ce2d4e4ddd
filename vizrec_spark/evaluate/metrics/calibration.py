"""Calibration: whether a list has a user's interests in their proportions."""

from __future__ import annotations

import numpy as np

from vizrec_spark.evaluate.block import Block, Values
from vizrec_spark.evaluate.history import category_shares

_ALPHA = 0.01


def miscalibration(block: Block, k: int) -> Values:
    """KL(p ‖ q̃) in nats, 0 (as the user's history) or more: smaller is better.

    p(c): share of category c in the items that the user knew, an item with several categories counting in equal
    parts; q(c): the same of the first k; q̃ = 0.99 q + 0.01 p, so that a category that the list lacks costs a finite
    amount. NaN where history or list have no category. Steck 2018, "Calibrated Recommendations".
    """
    facts = block.facts
    rows, places = np.nonzero(block.listed[:, :k] & (block.items[:, :k] >= 0))
    history, shown = block.history.categories, category_shares(facts, rows, block.items[rows, places])
    # The sum runs over what the user knew: where p is 0 it has no part.
    p = history.share
    at = np.minimum(np.searchsorted(shown.key, history.key), max(len(shown.key) - 1, 0))
    q = np.where(shown.key[at] == history.key, shown.share[at], 0.0) if len(shown.key) else np.zeros(len(p))
    whose = history.key // max(facts.n_categories, 1)
    terms = p * np.log(p / ((1 - _ALPHA) * q + _ALPHA * p))
    told = np.bincount(whose, weights=terms, minlength=len(block))
    known = np.zeros((2, len(block)), dtype=bool)
    known[0, whose] = True
    known[1, shown.key // max(facts.n_categories, 1)] = True
    return np.where(known.all(axis=0), told, np.nan)
