"""Whether look-alikes share a label: precision of the nearest neighbours among the judged pictures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.kernels.block_topk import Seen, block_topk
from vizrec_spark.kernels.resampling import poisson_weights

Floats = NDArray[np.float64]


class Mean(NamedTuple):
    """A mean over pictures with its 95 % interval (percentile bootstrap over the pictures)."""

    value: float
    lo: float
    hi: float


def neighbour_precision(vectors: NDArray[np.float32], labels: NDArray[np.bool_], k: int) -> Floats:
    """For each picture, the share of its k nearest others (by cosine, all of them if fewer) that share a label: (n,).

    vectors: (n, d) float32; labels: (n, classes), no row empty. Raises: ValueError for fewer than two pictures.
    """
    n = len(vectors)
    if n < 2:
        raise ValueError("one picture has no neighbours")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    itself = Seen(np.arange(n + 1), np.arange(n))
    _, found = block_topk(units, units, min(k, n - 1), seen=itself)
    shared = np.stack([(labels & labels[column]).any(axis=1) for column in found.T], axis=1)
    return np.asarray(shared.mean(axis=1))


def mean_with_interval(values: Floats, replicates: int, seed: int) -> Mean:
    """The mean of `values` (n,) and its interval. The same seed draws the same pictures, so that of two lists of
    values of the same pictures the difference has the interval of the paired differences."""
    weights = poisson_weights(np.arange(len(values), dtype=np.uint64), replicates, seed)
    drawn = weights.sum(axis=0)
    means = np.divide(values @ weights, drawn, out=np.full(replicates, np.nan), where=drawn > 0)
    lo, hi = np.nanquantile(means, [0.025, 0.975])
    return Mean(float(values.mean()), float(lo), float(hi))
