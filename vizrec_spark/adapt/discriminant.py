"""Linear discriminants with a shrunk covariance: directions that tell labels apart, and a classifier of them.

The covariance within labels is mixed with the sphere of the same trace, (1 - s) S + s tr(S) / d I (Ledoit and Wolf
2004, "A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices"; s is chosen on validation pictures).
It is decomposed once, after which each s costs next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.adapt.moments import Moments
from vizrec_spark.kernels.adapted import Dense, Head

Floats = NDArray[np.float64]

_SMALLEST = 1e-6  # of the largest; directions with a smaller variance between labels are rounding


@dataclass(frozen=True)
class Discriminants:
    """Means and the decomposed covariance within labels of some `Moments`."""

    means: Floats
    weight: Floats
    axes: Floats
    variances: Floats

    @classmethod
    def of(cls, moments: Moments) -> Discriminants:
        """Costs an eigendecomposition of d × d."""
        variances, axes = np.linalg.eigh(moments.within)
        return cls(moments.means, moments.weight / moments.weight.sum(), axes, np.maximum(variances, 0))

    @property
    def centre(self) -> Floats:
        """The mean of the labels' means, each label counting alike, (d,)."""
        return np.asarray(self.means[self.weight > 0].mean(axis=0))

    def classifier(self, shrinkage: float) -> Head:
        """Logits of Fisher's classifier with equal chances of the labels: x @ S⁻¹ m - ½ mᵀ S⁻¹ m."""
        solved = self.axes @ ((self.axes.T @ self.means.T) / self._shrunk(shrinkage)[:, None])
        bias = -0.5 * (self.means.T * solved).sum(axis=0)
        shift = bias.mean()  # the same for all labels, so it says nothing
        layer = Dense(solved.astype(np.float32), (bias - shift).astype(np.float32))
        return Head((layer,), "relu")  # one layer: no activation in between

    def directions(self, shrinkage: float) -> Floats:
        """(d, at most classes - 1): within labels the projections are uncorrelated with variance 1; the direction that
        tells most first."""
        root = self.axes / np.sqrt(self._shrunk(shrinkage))
        means = (self.means[self.weight > 0] - self.centre) @ root
        _, spread, turn = np.linalg.svd(means, full_matrices=False)
        kept = spread > _SMALLEST * max(spread[0], np.finfo(float).tiny)
        return np.asarray(root @ turn[kept][: len(means) - 1].T)

    def _shrunk(self, shrinkage: float) -> Floats:
        return (1 - shrinkage) * self.variances + shrinkage * max(self.variances.mean(), np.finfo(float).tiny)
