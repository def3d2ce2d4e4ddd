"""From vectors to the points whose inner products rank neighbours: at full dimension, or on the leading directions.

For the cosine a point is the unit vector. For the Euclidean distance it is the vector itself with one number more,
−|v|²/2 for a candidate and 1 for a query, since a·b − |b|²/2 falls as |a − b|² grows. `basis` keeps only what lies
in its span; without one nothing is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.kernels.projection import fit_projection
from vizrec_spark.similar.scoring import Floats, Metric, squared_norms, unit_rows

LOCATING: int = 64
"""How many leading directions say in which cell a vector lies: the small ones only blur it."""


@dataclass(frozen=True)
class Reduction:
    """basis: d × r float32, orthonormal, or None for all of the vector; mean: r float32, of the sample's points."""

    metric: Metric
    basis: Floats | None
    mean: Floats

    @property
    def width(self) -> int:
        """Numbers in a point."""
        return len(self.mean) + (self.metric == "euclidean")

    def candidates(self, vectors: Floats) -> Floats:
        """The points (n × width) of vectors (n × d) as candidates."""
        points = self._reduced(vectors)
        if self.metric == "cosine":
            return points
        return np.column_stack([points, squared_norms(vectors) / np.float32(-2)])

    def queries(self, vectors: Floats) -> Floats:
        """The points (n × width) of vectors (n × d) as queries."""
        points = self._reduced(vectors)
        if self.metric == "cosine":
            return points
        return np.column_stack([points, np.ones(len(points), dtype=np.float32)])

    def located(self, points: Floats) -> Floats:
        """What cells and hashes are made of: the centred leading coordinates (n × `LOCATING` or fewer) of points."""
        used = min(LOCATING, len(self.mean))
        return np.ascontiguousarray(points[:, :used] - self.mean[:used])

    def _reduced(self, vectors: Floats) -> Floats:
        scaled = unit_rows(vectors) if self.metric == "cosine" else np.asarray(vectors)
        return scaled if self.basis is None else scaled @ self.basis


def fit_reduction(
    sample: NDArray[np.float32], dimensions: int | None, metric: Metric, *, seed: int
) -> Reduction:
    """The reduction to `dimensions` directions, from a sample (n × d raw); None keeps the vectors whole."""
    scaled = unit_rows(sample) if metric == "cosine" else np.asarray(sample)
    basis = None if dimensions is None else fit_projection(scaled, dimensions, seed=seed)
    points = scaled if basis is None else scaled @ basis
    return Reduction(metric, basis, points.mean(axis=0, dtype=np.float64).astype(np.float32))
