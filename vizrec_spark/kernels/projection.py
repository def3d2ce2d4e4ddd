"""The few directions in which vectors differ most, by a randomised range finder.

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
    # From the second moment where it is the smaller matrix: one product, and each iteration costs d² · width.
    moment = rest.T @ rest if rows > d else None
    found = np.random.default_rng([seed, d, width]).standard_normal((d, width), dtype=np.float32)
    for _ in range(_POWER_ITERATIONS):
        found = moment @ found if moment is not None else rest.T @ (rest @ found)
        found = _orthonormal(found, axis)
    narrow = rest @ found if moment is None else None
    inner = found.T @ (moment @ found) if moment is not None else narrow.T @ narrow  # type: ignore[union-attr]
    _, turn = np.linalg.eigh(inner.astype(np.float64))
    leading = (found.astype(np.float64) @ turn[:, ::-1])[:, : r - 1]
    basis = np.column_stack([axis, leading])
    return np.ascontiguousarray(np.linalg.qr(basis)[0] * np.sign(np.diag(np.linalg.qr(basis)[1])), np.float32)


def _orthonormal(matrix: Floats, axis: Floats) -> Floats:
    matrix = matrix - np.outer(axis, axis @ matrix)
    return np.linalg.qr(matrix)[0].astype(np.float32, copy=False)
