"""MRR: the mean over users of the reciprocal rank."""

from __future__ import annotations

import numpy as np

from vizrec_spark.evaluate.block import Block, Values


def reciprocal_rank(block: Block, k: int) -> Values:
    """RR@k = 1 / rank of the first hit, 0 where the first k hold none; NaN for users without relevant items.

    Voorhees 1999, "The TREC-8 Question Answering Track Report".
    """
    hits = block.hits[:, :k]
    found = np.where(hits.any(axis=1), 1.0 / (1 + hits.argmax(axis=1)), 0.0)
    return np.where(block.relevant > 0, found, np.nan)
