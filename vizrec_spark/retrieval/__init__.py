"""Top-k retrieval for every row of a DataFrame, without the cross product."""

from __future__ import annotations

from vizrec_spark.retrieval.shared import SharedFactors, share_factors
from vizrec_spark.retrieval.top_k import top_k

__all__ = ["SharedFactors", "share_factors", "top_k"]
