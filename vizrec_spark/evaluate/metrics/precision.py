"""Precision: how much of a list was worth its place."""

from __future__ import annotations

import numpy as np

from vizrec_spark.evaluate.block import Block, Values


def precision(block: Block, k: int) -> Values:
    """precision@k = |relevant ∩ first k| / k, 0 to 1; NaN for users without relevant items.

    A list that is shorter than k is divided by k all the same: empty places help nobody. van Rijsbergen 1979,
    "Information Retrieval", chapter 7.
    """
    return np.where(block.relevant > 0, block.hits[:, :k].sum(axis=1) / k, np.nan)
