"""A kernel machine on some pictures as landmarks, solved in closed form; as dense layers, it is a head like others.

With the Gaussian kernel k(x, z) = exp(-|x - z|² / w) and landmarks z, f(x) = Σ a_z k(x, z) minimises the squared
error plus ridge · aᵀ K a (Williams and Seeger 2001, "Using the Nyström Method to Speed Up Kernel Machines"); with
all pictures as landmarks this is kernel ridge regression. Features have one length √d, so that
k(x, z) = exp((2 x·z - 2 d) / w): a dense layer with the exponential behind it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.adapt.moments import Moments
from vizrec_spark.adapt.network import Examples
from vizrec_spark.kernels.adapted import Dense, Head

_JITTER = 1e-9  # of the mean diagonal, against landmarks that are nearly equal


def kernel_machine(examples: Examples, moments: Moments, landmarks: int, ridge: float, seed: int) -> Head:
    """A head on φ(x): at most `landmarks` of `examples` at random, width w the mean squared distance of two pictures.

    Every label counts alike, however many pictures it has; one label a picture. Memory: landmarks² float64, and a block
    of pictures × landmarks.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(examples.rows)[:landmarks])
    z = examples.features.rows(rows)
    width = max(2 * float(np.trace(moments.total)), float(np.finfo(np.float32).tiny))
    d = examples.features.dimension
    first = Dense((z.T * (2 / width)).astype(np.float32), np.full(len(z), -2 * d / width, np.float32))
    truth = examples.truth[examples.rows].astype(np.float64)
    weight = 1 / np.maximum(truth.sum(axis=0), 1)
    weight /= (truth @ weight).mean()
    left = ridge * _kernel(first, z)
    right = np.zeros((len(z), truth.shape[1]))
    for piece, x in examples.features.blocks(examples.rows):
        near, mine = _kernel(first, x), examples.truth[piece].astype(np.float64)
        weighted = near * (mine @ weight)[:, None]
        left += weighted.T @ near
        right += weighted.T @ (mine - 1 / mine.shape[1])
    left[np.diag_indices_from(left)] += _JITTER * np.trace(left) / len(left)
    solved = np.linalg.solve(left, right)
    return Head((first, Dense(solved.astype(np.float32), np.zeros(truth.shape[1], np.float32))), "exp")


def _kernel(first: Dense, x: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.exp((x @ first.kernel + first.bias).astype(np.float64))
