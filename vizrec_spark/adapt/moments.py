"""Sums of features by label, from which discriminants are solved: one pass, d² numbers whatever the pictures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.adapt.spool import Features

Floats = NDArray[np.float64]


class Moments(NamedTuple):
    """weight (classes,): pictures of each label; sums (classes, d); products (d, d): Σ x xᵀ. A picture counts once for
    each of its labels."""

    weight: Floats
    sums: Floats
    products: Floats

    def plus(self, other: Moments) -> Moments:
        """The moments of the pictures of both."""
        return Moments(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def means(self) -> Floats:
        """Mean of each label's pictures, (classes, d); 0 for a label without."""
        return self.sums / np.maximum(self.weight, 1)[:, None]

    @property
    def within(self) -> Floats:
        """Covariance of pictures around the mean of their label, (d, d)."""
        freedom = max(float(self.weight.sum()) - len(self.weight), 1.0)
        return (self.products - (self.means * self.weight[:, None]).T @ self.means) / freedom

    @property
    def total(self) -> Floats:
        """Covariance around the mean of all, (d, d)."""
        mean = self.sums.sum(axis=0) / self.weight.sum()
        return self.products / self.weight.sum() - np.outer(mean, mean)


def moments_of(features: Features, rows: NDArray[np.int64], truth: NDArray[np.bool_]) -> Moments:
    """The `Moments` of some rows; truth: (all rows, classes)."""
    d, classes = features.dimension, truth.shape[1]
    found = Moments(np.zeros(classes), np.zeros((classes, d)), np.zeros((d, d)))
    for piece, x in features.blocks(rows):
        labels = truth[piece].astype(np.float32)
        weighted = x * labels.sum(axis=1, keepdims=True)
        found = found.plus(
            Moments(*(_wide(part) for part in (labels.sum(axis=0), labels.T @ x, weighted.T @ x)))
        )
    return found


def _wide(part: NDArray[np.floating]) -> Floats:
    return np.asarray(part, np.float64)
