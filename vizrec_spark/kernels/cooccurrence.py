"""Item-item models of co-consumption: cosine neighbours, and a ridge regression of each item on its neighbours.

The ridge is EASE (Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data") restricted to each item's
nearest items, as SLIM's feature selection does (Ning and Karypis 2011): with all items as neighbours it is EASE
itself, with N of them its cost grows with n · N³ and not with n³.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.kernels.compiled import compiled
from vizrec_spark.kernels.topk import topk_rows

_STRIP = 512


class Neighbourhoods(NamedTuple):
    """The nearest items of each of n items, best first, `-1` behind the last.

    items: (n, m) int64; cosine, ridge: (n, m) float32. ``ridge[i, p]`` is what having item ``items[i, p]`` says
    for item i, all other neighbours held fixed; ``cosine[i, p]`` what it says by itself (0 to 1).
    """

    items: NDArray[np.int64]
    cosine: NDArray[np.float32]
    ridge: NDArray[np.float32]


def cooccurrences(indptr: NDArray[np.int64], indices: NDArray[np.int64], n: int) -> NDArray[np.float32]:
    """XᵀX (n, n) float32 of binary rows: how many rows hold both items; row i is ``indices[indptr[i]:indptr[i+1]]``.

    A row must not repeat an item. Memory is 4 · n² bytes: the caller bounds n.
    """
    counts = np.zeros((n, n), dtype=np.float32)
    _count_pairs(indptr, indices, counts)
    return counts


def neighbourhoods(counts: NDArray[np.float32], m: int, regularization: float) -> Neighbourhoods:
    """The m nearest items of each by cosine of their columns, and the ridge of each item on them.

    With G = XᵀX and N the neighbours of item i, the weights are (G_NN + λ I)⁻¹ G_Ni.

    Raises: ValueError when `regularization` is not above 0.
    """
    if not regularization > 0:
        raise ValueError(f"regularization must be above 0, got {regularization}")
    n = len(counts)
    m = min(m, max(n - 1, 1))
    lengths = np.sqrt(np.maximum(np.diag(counts), 1e-12)).astype(np.float32)
    items = np.full((n, m), -1, dtype=np.int64)
    cosine = np.zeros((n, m), dtype=np.float32)
    ridge = np.zeros((n, m), dtype=np.float32)
    for first in range(0, n, _STRIP):
        rows = np.arange(first, min(first + _STRIP, n))
        near = counts[rows] / lengths[rows, None] / lengths[None, :]
        near[np.arange(len(rows)), rows] = -np.inf
        near[near <= 0] = -np.inf
        value, key = topk_rows(near, m)
        items[rows], cosine[rows] = key, np.where(key >= 0, value, 0.0)
        ridge[rows] = _ridge(counts, rows, key, regularization)
    return Neighbourhoods(items, cosine, ridge)


def _ridge(
    counts: NDArray[np.float32], rows: NDArray[np.int64], near: NDArray[np.int64], regularization: float
) -> NDArray[np.float32]:
    at = np.maximum(near, 0)
    left = counts[at[:, :, None], at[:, None, :]].astype(np.float64)
    right = counts[at, rows[:, None]].astype(np.float64)
    padded = near < 0
    left[padded[:, :, None] | padded[:, None, :]] = 0.0
    right[padded] = 0.0
    diagonal = np.arange(near.shape[1])
    left[:, diagonal, diagonal] += regularization
    return np.linalg.solve(left, right[:, :, None])[:, :, 0].astype(np.float32)


@compiled
def _count_pairs(indptr, indices, counts):  # type: ignore[no-untyped-def]
    for row in range(len(indptr) - 1):
        for a in range(indptr[row], indptr[row + 1]):
            line = counts[indices[a]]
            for b in range(indptr[row], indptr[row + 1]):
                line[indices[b]] += 1.0
