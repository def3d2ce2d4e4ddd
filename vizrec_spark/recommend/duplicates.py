"""Groups of near-duplicates: items with the same picture, or with pictures that hardly differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def duplicate_groups(n: int, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """The group of each of n items (n,) int64, named after its smallest member.

    `left` and `right`: pairs that are near-duplicates. A group is what such pairs connect (union-find).
    """
    parent = np.arange(n)

    def root(of: int) -> int:
        while parent[of] != of:
            parent[of] = parent[parent[of]]
            of = int(parent[of])
        return of

    for a, b in zip(left.tolist(), right.tolist(), strict=True):
        first, second = sorted((root(a), root(b)))
        parent[second] = first
    return np.array([root(i) for i in range(n)], dtype=np.int64)


def same_values(values: NDArray[np.object_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs that chain together positions of equal values; null and empty ones are equal to nothing."""
    known = np.flatnonzero([value is not None and value != "" for value in values])
    if len(known) == 0:
        return known, known
    _, code = np.unique(values[known].astype(str), return_inverse=True)
    order = np.argsort(code, kind="stable")
    alike = code[order][1:] == code[order][:-1]
    return known[order][:-1][alike], known[order][1:][alike]
