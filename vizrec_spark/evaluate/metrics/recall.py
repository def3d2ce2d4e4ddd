"""Recall: how much of what there was to find a list holds."""

from __future__ import annotations

from vizrec_spark.evaluate.block import Block, Values
from vizrec_spark.kernels.ranking import recall_at_k


def recall(block: Block, k: int) -> Values:
    """recall@k = |relevant ∩ first k| / |relevant|, 0 to 1; NaN for users without relevant items.

    van Rijsbergen 1979, "Information Retrieval", chapter 7.
    """
    return recall_at_k(block.hits[:, :k], block.relevant)
