"""Lloyd's k-means on a sample, by matrix products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Codes = NDArray[np.int32]

_BLOCK = 8192
_AFFINITIES = 1 << 25  # of points and centroids at a time: 16 bytes each


def fit_centroids(points: Floats, cells: int, *, seed: int, iterations: int = 6) -> Floats:
    """`cells` centroids (cells × d float32) of `points` (n × d); fewer if there are fewer points.

    Starts from points drawn at random; a cell that loses all its points takes up the point farthest from its own
    centroid. Lloyd, "Least squares quantization in PCM", 1982.
    """
    generator = np.random.default_rng([seed, cells])
    cells = min(cells, len(points))
    centroids = points[np.sort(generator.choice(len(points), cells, replace=False))].copy()
    for _ in range(iterations):
        codes, affinity = nearest_centroid(points, centroids)
        order = np.argsort(codes, kind="stable")
        counts = np.bincount(codes, minlength=cells)
        filled = counts > 0
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])[filled]
        sums = np.add.reduceat(points[order], starts, axis=0)
        centroids[filled] = sums / counts[filled, None]
        empty = np.flatnonzero(~filled)
        if len(empty):
            far = np.argsort(np.einsum("ij,ij->i", points, points) - 2 * affinity, kind="stable")
            centroids[empty] = points[far[-len(empty) :]]
    return centroids


def nearest_centroid(points: Floats, centroids: Floats) -> tuple[Codes, Floats]:
    """The nearest centroid of each point (n int32) and the affinity x·c − |c|²/2 with it, the largest there is."""
    offset = _half_squares(centroids)
    codes = np.empty(len(points), dtype=np.int32)
    best = np.empty(len(points), dtype=np.float32)
    for start in range(0, len(points), _BLOCK):
        part = slice(start, start + _BLOCK)
        affinity = points[part] @ centroids.T
        affinity -= offset
        codes[part] = affinity.argmax(axis=1)
        best[part] = np.take_along_axis(affinity, codes[part, None].astype(np.int64), axis=1)[:, 0]
    return codes, best


def nearest_centroids(points: Floats, centroids: Floats, count: int) -> Codes:
    """The `count` nearest centroids of each point (n × count int32), in no particular order."""
    count = min(count, len(centroids))
    if count == len(centroids):
        return np.broadcast_to(np.arange(count, dtype=np.int32), (len(points), count))
    offset = _half_squares(centroids)
    found = np.empty((len(points), count), dtype=np.int32)
    rows = max(1, min(_BLOCK, _AFFINITIES // len(centroids)))
    for start in range(0, len(points), rows):
        affinity = points[start : start + rows] @ centroids.T
        affinity -= offset
        found[start : start + len(affinity)] = np.argpartition(-affinity, count - 1, axis=1)[:, :count]
    return found


def _half_squares(centroids: Floats) -> Floats:
    return np.einsum("ij,ij->i", centroids, centroids) / 2
