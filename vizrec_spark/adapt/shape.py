"""What vectors for look-alikes are made of, chosen by how often the nearest neighbours share a label."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.adapt.discriminant import Discriminants
from vizrec_spark.adapt.judging.retrieval import neighbour_precision
from vizrec_spark.adapt.moments import Moments
from vizrec_spark.config.models import AdaptConfig
from vizrec_spark.kernels.adapted import Floats, Projection, vectors_of


@dataclass(frozen=True)
class Shape:
    """What vectors are made of: discriminants at `shrinkage`, plain directions of weight `keep`, and labels."""

    shrinkage: float
    keep: float
    dimensions: int
    label_weight: float
    precision: float
    before: float

    def __str__(self) -> str:
        return (
            f"shrinkage {self.shrinkage:g}, plain features {self.keep:g}, labels {self.label_weight:g}; precision on "
            f"validation pictures {self.before:.4f} before, {self.precision:.4f} after"
        )

    @classmethod
    def choose(
        cls, first: Discriminants, moments: Moments, prepared: Floats, truth: NDArray[np.bool_],
        probabilities: Floats, config: AdaptConfig,
    ) -> Shape:  # fmt: skip
        """The best of all combinations that `config.projection` names; of equals the first."""
        found: list[Shape] = []

        def precision(vectors: Floats) -> float:
            return float(neighbour_precision(vectors, truth, config.k).mean())

        before = precision(prepared)
        tried = config.projection
        for shrinkage, keep in product(tried.shrinkage, tried.keep):
            shape = cls(shrinkage, keep, tried.dimensions, 0.0, 0.0, before)
            plain = shape.projection(first, moments)
            for weight in tried.labels:
                made = Projection(plain.mean, plain.matrix, weight)
                found.append(
                    cls(
                        shrinkage,
                        keep,
                        tried.dimensions,
                        weight,
                        precision(vectors_of(made, prepared, probabilities)),
                        before,
                    )
                )
        return max(found, key=lambda shape: shape.precision)

    def projection(self, discriminants: Discriminants, moments: Moments) -> Projection:
        """Both kinds of directions, each scaled to vectors of mean square 1 (times `keep`²)."""
        total = moments.total
        parts = [_unit(discriminants.directions(self.shrinkage), total)]
        if self.keep > 0 and self.dimensions > 0:
            _, axes = np.linalg.eigh(total)
            parts.append(self.keep * _unit(axes[:, ::-1][:, : self.dimensions], total))
        matrix = np.column_stack(parts)
        return Projection(
            discriminants.centre.astype(np.float32), matrix.astype(np.float32), float(self.label_weight)
        )


def _unit(directions: NDArray[np.float64], total: NDArray[np.float64]) -> NDArray[np.float64]:
    power = float(np.einsum("ij,ik,kj->", directions, total, directions, optimize=True))
    return directions / np.sqrt(max(power, np.finfo(float).tiny))
