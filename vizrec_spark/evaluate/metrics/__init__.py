"""The metrics, one a module: formula, source, and what holds for users without relevant items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from vizrec_spark.evaluate.block import Block, Values
from vizrec_spark.evaluate.metrics.auc import auc
from vizrec_spark.evaluate.metrics.average_precision import average_precision
from vizrec_spark.evaluate.metrics.calibration import miscalibration
from vizrec_spark.evaluate.metrics.coverage import coverage
from vizrec_spark.evaluate.metrics.diversity import diversity
from vizrec_spark.evaluate.metrics.gini import gini
from vizrec_spark.evaluate.metrics.hit_rate import hit_rate
from vizrec_spark.evaluate.metrics.ndcg import ndcg
from vizrec_spark.evaluate.metrics.novelty import novelty
from vizrec_spark.evaluate.metrics.precision import precision
from vizrec_spark.evaluate.metrics.recall import recall
from vizrec_spark.evaluate.metrics.reciprocal_rank import reciprocal_rank
from vizrec_spark.evaluate.metrics.serendipity import serendipity

__all__ = [
    "AT_K",
    "BEYOND_ACCURACY",
    "LOWER_IS_BETTER",
    "RANKING",
    "coverage",
    "gini",
    "metric_names",
    "values_of",
]

AtK = Callable[[Block, int], Values]

RANKING: Mapping[str, AtK] = {
    "recall": recall,
    "precision": precision,
    "ndcg": ndcg,
    "map": average_precision,
    "mrr": reciprocal_rank,
    "hit_rate": hit_rate,
}
BEYOND_ACCURACY: Mapping[str, AtK] = {
    "novelty": novelty,
    "diversity": diversity,
    "serendipity": serendipity,
    "miscalibration": miscalibration,
}
AT_K = {**RANKING, **BEYOND_ACCURACY}
LOWER_IS_BETTER = frozenset({"miscalibration", "gini"})


def metric_names(cutoffs: Sequence[int]) -> list[str]:
    """Names of the per-user metrics, in the order of the columns of `values_of`: ``recall@10``, ..., ``auc``."""
    return [*(f"{name}@{k}" for name in AT_K for k in cutoffs), "auc"]


def values_of(block: Block, cutoffs: Sequence[int], *, ranking_only: bool = False) -> Values:
    """Every metric of every user: (users, metrics) float64, NaN where a metric says nothing of a user.

    With `ranking_only` those that look at the whole list, and AUC, are NaN: they mean nothing of a part of the items.
    """
    nothing = np.full(len(block), np.nan)
    columns = [
        measure(block, k) if name in RANKING or not ranking_only else nothing
        for name, measure in AT_K.items()
        for k in cutoffs
    ]
    return np.column_stack([*columns, nothing if ranking_only else auc(block)])
