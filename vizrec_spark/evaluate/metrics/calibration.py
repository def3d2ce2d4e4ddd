"""Calibration: whether a list has a user's interests in their proportions."""

from __future__ import annotations

import numpy as np

from vizrec_spark.evaluate.block import Block, Values

_ALPHA = 0.01


def miscalibration(block: Block, k: int) -> Values:
    """KL(p ‖ q̃) in nats, 0 (as the user's history) or more: smaller is better.

    p(c): share of category c in the items that the user knew, an item with several categories counting in equal
    parts; q(c): the same of the first k; q̃ = 0.99 q + 0.01 p, so that a category that the list lacks costs a finite
    amount. NaN where history or list have no category. Steck 2018, "Calibrated Recommendations".
    """
    facts = block.facts
    rows, places = np.nonzero(block.listed[:, :k] & (block.items[:, :k] >= 0))
    p = _shares(block, block.known_user, block.known_item)
    q = _shares(block, rows, block.items[rows, places])
    mixed = (1 - _ALPHA) * q + _ALPHA * p
    ratio = np.divide(p, mixed, out=np.ones_like(p), where=p > 0)
    told = (p * np.log(ratio)).sum(axis=1)
    known = (p.sum(axis=1) > 0) & (q.sum(axis=1) > 0)
    return np.where(known & (facts.n_categories > 0), told, np.nan)


def _shares(block: Block, user: Values, item: Values) -> Values:
    """Share of each category (columns) in the items of each user (rows); a row of zeros without any."""
    facts = block.facts
    count = facts.category_start[item + 1] - facts.category_start[item]
    owner = np.repeat(np.arange(len(item)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    code = facts.category_codes[facts.category_start[item][owner] + within]
    key = user[owner] * facts.n_categories + code
    summed = np.bincount(key, weights=1.0 / count[owner], minlength=len(block) * facts.n_categories)
    weight = summed.astype(np.float64).reshape(len(block), facts.n_categories)
    total = weight.sum(axis=1, keepdims=True)
    return np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)
