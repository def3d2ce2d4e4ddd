"""Groups of nearly equal pictures: alike in a perceptual hash, and alike to the encoder."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.kernels.compiled import compiled
from vizrec_spark.kernels.components import join, root_of


def near_groups(
    hashes: NDArray[np.int64],
    hashed: NDArray[np.bool_],
    features: NDArray[np.float32],
    *,
    bits: int,
    cosine: float,
) -> NDArray[np.int64]:
    """The smallest row of each row's group, (n,) int64: what hangs together by pairs whose hashes (n,) differ in at
    most `bits` bits and whose features (n, d) have at least this cosine. A row that is not `hashed` (n,) is alone.

    Of `bits` + 1 pieces of two such hashes one is equal, so only rows that share a piece are compared: all pairs of
    those, in a compiled loop. `features` may be a memory map; it is read for pairs with near hashes alone.
    """
    parent = np.arange(len(hashes), dtype=np.int64)
    plain, known = hashes.view(np.uint64), np.flatnonzero(hashed)
    edges = np.linspace(0, 64, bits + 2).astype(np.int64)
    for low, high in itertools.pairwise(edges):
        width = int(high - low)
        mask = np.uint64(2**width - 1)
        piece = (plain >> np.uint64(low)) & mask
        order = known[np.argsort(piece[known], kind="stable")]
        _join(parent, plain, piece, order, np.asarray(features), np.uint64(bits), cosine)
    nobody = np.zeros(0, np.int64)
    join(parent, nobody, nobody)  # every row to its root
    return parent


@compiled
def _join(parent, hashes, piece, order, features, bits, cosine):  # type: ignore[no-untyped-def]
    n = len(order)
    start = 0
    while start < n:
        end = start + 1
        while end < n and piece[order[end]] == piece[order[start]]:
            end += 1
        for i in range(start, end):
            for j in range(i + 1, end):
                a, b = order[i], order[j]
                apart = hashes[a] ^ hashes[b]
                count = np.uint64(0)
                while apart != 0 and count <= bits:
                    apart &= apart - np.uint64(1)
                    count += np.uint64(1)
                if count > bits:
                    continue
                root, other = root_of(parent, a), root_of(parent, b)
                if root != other and _cosine(features[a], features[b]) >= cosine:
                    parent[max(root, other)] = min(root, other)
        start = end


@compiled
def _cosine(left, right):  # type: ignore[no-untyped-def]
    product, first, second = 0.0, 0.0, 0.0
    for at in range(len(left)):
        product += left[at] * right[at]
        first += left[at] * left[at]
        second += right[at] * right[at]
    return product / np.sqrt(first * second) if first > 0 and second > 0 else 0.0
