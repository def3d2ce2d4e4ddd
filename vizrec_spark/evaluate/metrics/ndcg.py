"""nDCG: relevant items count for more, the nearer to the top they stand."""

from __future__ import annotations

import numpy as np

from vizrec_spark.evaluate.block import Block, Values
from vizrec_spark.kernels.ranking import ndcg_at_k


def ndcg(block: Block, k: int) -> Values:
    """nDCG@k = Σ over hits 1 / log2(1 + rank), over the largest that this sum can be; 0 to 1.

    The largest has relevant items at ranks 1 to min(k, |relevant|). NaN for users without relevant items.
    Järvelin and Kekäläinen 2002, "Cumulated Gain-Based Evaluation of IR Techniques".
    """
    hits = block.hits[:, :k]
    # A list shorter than k has its empty places at the end, which add nothing.
    padded = np.pad(hits, ((0, 0), (0, k - hits.shape[1])))
    return ndcg_at_k(padded, block.relevant)
