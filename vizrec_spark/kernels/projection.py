"""The few directions in which vectors differ most, by randomised subspace iteration on their second moment.

The first direction is that of the mean, which all pooled CNN features share; the others are the leading singular
directions of what remains after centring, in descending order of variance. Products of projected vectors then
approximate products of the vectors themselves, shared mean included (Halko, Martinsson, Tropp, "Finding structure
with randomness", SIAM Review 53, 2011, algorithms 4.4 and 5.1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_OVERSAMPLING = 16
_POWER_ITERATIONS = 3


def fit_projection(sample: Floats, dimensions: int, *, seed: int) -> Floats:
    """An orthonormal basis (d × r float32, r = min(dimensions, d, rows)) for `sample` (rows × d).

    Column 0 is the direction of the sample's mean, columns 1 and on are those of largest variance, largest first.
    """
    rows, d = sample.shape
    r = min(dimensions, d, rows)
    mean = sample.mean(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(mean))
    axis = (mean / length).astype(np.float32) if length > 0 else np.eye(d, 1, dtype=np.float32)[:, 0]
    rest = sample - np.outer(sample @ axis, axis)
    rest -= rest.mean(axis=0)
    width = min(r + _OVERSAMPLING, d)
    moment = rest.T @ rest
    found = np.random.default_rng([seed, d, width]).standard_normal((d, width), dtype=np.float32)
    for _ in range(_POWER_ITERATIONS):
        found = _orthonormal(moment @ found, axis)
    _, turn = np.linalg.eigh((found.T @ (moment @ found)).astype(np.float64))
    leading = (found.astype(np.float64) @ turn[:, ::-1])[:, : r - 1]
    basis, upper = np.linalg.qr(np.column_stack([axis, leading]))
    return np.ascontiguousarray(basis * np.sign(np.diag(upper)), np.float32)


def _orthonormal(matrix: NDArray[np.floating], axis: Floats) -> Floats:
    matrix = (matrix - np.outer(axis, axis @ matrix)).astype(np.float32)
    return np.linalg.qr(matrix)[0].astype(np.float32, copy=False)
