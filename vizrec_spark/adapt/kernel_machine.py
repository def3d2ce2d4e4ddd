"""A kernel machine on some pictures as landmarks, solved in closed form; as dense layers, it is a head like others.

With the Gaussian kernel k(x, z) = exp(-|x - z|² / w) and landmarks z, f(x) = Σ a_z k(x, z) minimises the squared
error plus ridge · aᵀ K a (Williams and Seeger 2001, "Using the Nyström Method to Speed Up Kernel Machines"); with
all pictures as landmarks this is kernel ridge regression. Features have one length √d, so that
k(x, z) = exp((2 x·z - 2 d) / w): a dense layer with the exponential behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.adapt.moments import Moments
from vizrec_spark.adapt.network import Examples
from vizrec_spark.kernels.adapted import Dense, Head

Floats = NDArray[np.float64]

_JITTER = 1e-9  # of the mean diagonal, against landmarks that are nearly equal


@dataclass(frozen=True)
class KernelSums:
    """What a kernel machine is solved from: one pass over its pictures x, each of some weight w.

    layer: gives k(x, z) of all landmarks z; among: k of two landmarks, (landmarks, landmarks); products: Σ w k(x, ·)
    k(x, ·)ᵀ, likewise; targets: Σ w k(x, ·) (y - 1 / classes), (landmarks, classes).
    """

    layer: Dense
    among: Floats
    products: Floats
    targets: Floats

    @classmethod
    def of(cls, examples: Examples, moments: Moments, landmarks: int, seed: int) -> KernelSums:
        """At most `landmarks` of `examples` at random, width w the mean squared distance of two pictures.

        Every label counts alike, however many pictures it has; one label a picture. Memory: some landmarks² float64,
        and a block of pictures × landmarks.
        """
        rows = np.sort(np.random.default_rng(seed).permutation(examples.rows)[:landmarks])
        z = examples.features.rows(rows)
        width = max(2 * float(np.trace(moments.total)), float(np.finfo(np.float32).tiny))
        d = examples.features.dimension
        layer = Dense((z.T * (2 / width)).astype(np.float32), np.full(len(z), -2 * d / width, np.float32))
        weight = 1 / np.maximum(moments.weight, 1)
        weight *= len(examples.rows) / np.count_nonzero(moments.weight)  # 1 in the mean
        products, targets = np.zeros((len(z), len(z))), np.zeros((len(z), len(weight)))
        for piece, x in examples.features.blocks(examples.rows):
            near, mine = _kernel(layer, x), examples.truth[piece].astype(np.float64)
            weighted = near * (mine @ weight)[:, None]
            products += weighted.T @ near
            targets += weighted.T @ (mine - 1 / mine.shape[1])
        return cls(layer, _kernel(layer, z), products, targets)

    def machine(self, ridge: float) -> Head:
        """The head on φ(x). Costs a solution of landmarks × landmarks."""
        left = self.products + ridge * self.among
        left[np.diag_indices_from(left)] += _JITTER * np.trace(left) / len(left)
        solved = np.linalg.solve(left, self.targets)
        second = Dense(solved.astype(np.float32), np.zeros(self.targets.shape[1], np.float32))
        return Head((self.layer, second), "exp")


def _kernel(layer: Dense, x: NDArray[np.float32]) -> Floats:
    return np.exp((x @ layer.kernel + layer.bias).astype(np.float64))
