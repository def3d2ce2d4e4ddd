"""MAP: the mean over users of average precision."""

from __future__ import annotations

import numpy as np

from vizrec_spark.evaluate.block import Block, Values


def average_precision(block: Block, k: int) -> Values:
    """AP@k = Σ over hits at rank r ≤ k of precision@r, / |relevant|; 0 to 1, NaN for users without relevant items.

    As TREC has it (`map_cut`): the sum is divided by all relevant items, also where there are more of them than k, so
    that the best list reaches min(1, k / |relevant|). Buckley and Voorhees 2000, "Evaluating Evaluation Measure
    Stability".
    """
    hits = block.hits[:, :k]
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    total = (precision * hits).sum(axis=1)
    return np.divide(total, block.relevant, out=np.full(len(hits), np.nan), where=block.relevant > 0)
