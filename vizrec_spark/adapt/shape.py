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
from vizrec_spark.kernels.adapted import Floats, Projection, vectors_of, with_labels


@dataclass(frozen=True)
class Directions:
    """What projections are put together from: discriminants; total: the covariance around the mean of all, (d, d);
    leading: its first eigenvectors, (d, r); contrast: directions learned by contrast, (d, r), or None."""

    discriminants: Discriminants
    total: NDArray[np.float64]
    leading: NDArray[np.float64]
    contrast: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, discriminants: Discriminants, moments: Moments, dimensions: int) -> Directions:
        """With `dimensions` leading directions. Costs an eigendecomposition of d × d."""
        total = moments.total
        return cls(discriminants, total, np.linalg.eigh(total)[1][:, ::-1][:, :dimensions])


@dataclass(frozen=True)
class Shape:
    """What vectors are made of: discriminants at `shrinkage`, or None: directions learned by contrast; plain directions
    of weight `keep`, and labels; and the `precision` of the nearest neighbours by them."""

    shrinkage: float | None
    keep: float
    label_weight: float
    precision: float

    def __str__(self) -> str:
        told = "contrast" if self.shrinkage is None else f"shrinkage {self.shrinkage:g}"
        return (
            f"{told}, plain features {self.keep:g}, labels {self.label_weight:g}; precision on "
            f"validation pictures {self.precision:.4f}"
        )

    @classmethod
    def choose(
        cls, directions: Directions, prepared: Floats, truth: NDArray[np.bool_], probabilities: Floats,
        config: AdaptConfig,
    ) -> Shape:  # fmt: skip
        """The best of all combinations that `config.projection` names, by precision of the `config.k` nearest
        neighbours among some pictures: φ(x) (n, d), truth and probabilities (n, classes). Of equals the first."""
        tried, found = config.projection, []
        shrinkages: list[float | None] = [*tried.shrinkage, *([] if directions.contrast is None else [None])]
        for shrinkage, keep in product(shrinkages, tried.keep):
            plain = projection(directions, shrinkage, keep, 0.0)
            seen = vectors_of(plain, prepared, probabilities)
            for weight in tried.labels:
                vectors = with_labels(seen, probabilities, weight)
                precision = float(neighbour_precision(vectors, truth, config.k).mean())
                found.append(cls(shrinkage, keep, weight, precision))
        return max(found, key=lambda shape: shape.precision)

    def projection(self, directions: Directions) -> Projection:
        """The `Projection` of this shape along `directions`."""
        return projection(directions, self.shrinkage, self.keep, self.label_weight)


def projection(
    directions: Directions, shrinkage: float | None, keep: float, label_weight: float
) -> Projection:
    """Both kinds of directions, each scaled to vectors of mean square 1 (times `keep`²)."""
    discriminants, total = directions.discriminants, directions.total
    if shrinkage is None:
        assert directions.contrast is not None  # it was chosen
        telling = directions.contrast
    else:
        telling = discriminants.directions(shrinkage)
    parts = [_unit(telling, total)]
    if keep > 0 and directions.leading.shape[1] > 0:
        parts.append(keep * _unit(directions.leading, total))
    matrix = np.column_stack(parts).astype(np.float32)
    return Projection(discriminants.centre.astype(np.float32), matrix, float(label_weight))


def _unit(directions: NDArray[np.float64], total: NDArray[np.float64]) -> NDArray[np.float64]:
    power = float(np.einsum("ij,ik,kj->", directions, total, directions, optimize=True))
    return directions / np.sqrt(max(power, np.finfo(float).tiny))
