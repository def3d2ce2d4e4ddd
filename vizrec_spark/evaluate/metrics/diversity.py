"""Intra-list diversity by looks: how different the items of one list look."""

from __future__ import annotations

import numpy as np

from vizrec_spark.evaluate.block import Block, Values


def diversity(block: Block, k: int) -> Values:
    """1 − the mean cosine of two of the first k items, by their centred looks; 0 (all alike) to 2.

    Items without a picture are left out; NaN where fewer than two are left. With unit vectors v of m items,
    Σ over pairs v·w = (|Σ v|² − m) / 2, so no pair is looked at by itself.
    Ziegler et al. 2005, "Improving Recommendation Lists Through Topic Diversification".
    """
    facts = block.facts
    if facts.looks is None:
        return np.full(len(block), np.nan)
    items = block.items[:, :k]
    look = facts.look[np.maximum(items, 0)]
    usable = block.listed[:, :k] & (items >= 0) & (look >= 0)
    m = usable.sum(axis=1).astype(np.float64)
    total = np.zeros((len(block), facts.looks.shape[1]))
    for place in range(items.shape[1]):  # k steps; the users of the block at once
        rows = usable[:, place]
        total[rows] += facts.looks[look[rows, place]]
    pairs = m * (m - 1)
    cosine = np.divide((total**2).sum(axis=1) - m, pairs, out=np.full(len(block), np.nan), where=pairs > 0)
    # Items of one looks may have a cosine that is a rounding above 1.
    return np.clip(1.0 - cosine, 0.0, 2.0)
