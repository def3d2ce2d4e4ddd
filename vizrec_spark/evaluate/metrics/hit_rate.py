"""Hit rate: for how many users a list holds anything at all."""

from __future__ import annotations

import numpy as np

from vizrec_spark.evaluate.block import Block, Values


def hit_rate(block: Block, k: int) -> Values:
    """1 where the first k hold a relevant item, else 0; NaN for users without relevant items.

    Its mean is the hit rate (Deshpande and Karypis 2004, "Item-Based Top-N Recommendation Algorithms").
    """
    return np.where(block.relevant > 0, block.hits[:, :k].any(axis=1), np.nan)
