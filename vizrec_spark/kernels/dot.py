"""Inner products inside compiled loops."""

from __future__ import annotations

import numpy as np

from vizrec_spark.kernels.compiled import compiled_sums


@compiled_sums
def dot(left, right):  # type: ignore[no-untyped-def]
    """Σ left · right of two float32 vectors of one length, in float32."""
    total = np.float32(0.0)
    for i in range(len(left)):
        total += left[i] * right[i]
    return total
