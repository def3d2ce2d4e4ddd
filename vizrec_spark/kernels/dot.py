"""Inner products inside compiled loops."""

from __future__ import annotations

import numpy as np

from vizrec_spark.kernels.compiled import compiled


@compiled
def dot(left, right):  # type: ignore[no-untyped-def]
    """Σ left · right of two float32 vectors of one length, in eight running sums that the compiler makes vectors of."""
    size = len(left)
    even = size - size % 8
    a, b, c, d = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
    e, f, g, h = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for i in range(0, even, 8):
        a += left[i] * right[i]
        b += left[i + 1] * right[i + 1]
        c += left[i + 2] * right[i + 2]
        d += left[i + 3] * right[i + 3]
        e += left[i + 4] * right[i + 4]
        f += left[i + 5] * right[i + 5]
        g += left[i + 6] * right[i + 6]
        h += left[i + 7] * right[i + 7]
    for i in range(even, size):
        a += left[i] * right[i]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))
