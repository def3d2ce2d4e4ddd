"""Which items show the same pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def same_values(values: NDArray[np.object_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs that chain together positions of equal values; null and empty ones are equal to nothing."""
    known = np.flatnonzero([value is not None and value != "" for value in values])
    if len(known) == 0:
        return known, known
    _, code = np.unique(values[known].astype(str), return_inverse=True)
    order = np.argsort(code, kind="stable")
    alike = code[order][1:] == code[order][:-1]
    return known[order][:-1][alike], known[order][1:][alike]
