"""What an adapted encoder says of stored features, in blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.adapt.judging.retrieval import neighbour_precision
from vizrec_spark.adapt.spool import BLOCK, Features
from vizrec_spark.kernels.adapted import Adapted, Floats

Ints = NDArray[np.int64]

MOST_COMPARED = 10_000
"""Test pictures among which look-alikes are judged."""


def predicted(adapted: Adapted, features: Features, rows: Ints) -> tuple[Floats, Floats]:
    """Vectors and probabilities of some rows, (len(rows), `adapted.dimension`) and (len(rows), classes)."""
    blocks = [
        adapted.apply(np.asarray(features.raw[rows[start : start + BLOCK]]))
        for start in range(0, len(rows), BLOCK)
    ]
    vectors, probabilities = zip(*blocks, strict=True)
    return np.concatenate(vectors), np.concatenate(probabilities)


def to_compare(rows: Ints, seed: int) -> Ints:
    """All `rows`, or `MOST_COMPARED` of them at random: neighbours cost their square."""
    if len(rows) <= MOST_COMPARED:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, MOST_COMPARED, replace=False))


def precisions(
    adapted: Adapted | None, features: Features, rows: Ints, truth: NDArray[np.bool_], k: int
) -> NDArray[np.float64]:
    """`neighbour_precision` of some rows among each other, by the adapted vectors, or the plain ones without `adapted`.
    truth: (all rows, classes)."""
    vectors = np.asarray(features.raw[rows]) if adapted is None else predicted(adapted, features, rows)[0]
    return neighbour_precision(vectors, truth[rows], k)
