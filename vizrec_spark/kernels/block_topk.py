"""The k best candidates of each query by inner product, without the queries × candidates matrix.

A tile of queries meets a tile of candidates in one matrix product; what a query has seen and what is not eligible
is struck out in the tile, and the best so far are kept (`kernels.selection`). Scratch is one tile, whatever the
number of queries and candidates.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.kernels.compiled import compiled
from vizrec_spark.kernels.selection import PAD_KEY, Keys, Selection

Factors = NDArray[np.float32]
Ints = NDArray[np.integer]
Values = NDArray[np.float64]

QUERY_TILE = 512
CANDIDATE_TILE = 2048
SCRATCH_BYTES = QUERY_TILE * CANDIDATE_TILE * 4
"""What one call needs beside its arguments and its result."""

_SLACK = 16  # candidates beyond k that are scored again, so that rounding in a tile cannot decide who gets in


class Seen(NamedTuple):
    """What each query has met, as a compressed sparse row matrix: row i is ``indices[indptr[i] : indptr[i + 1]]``.

    `indptr` (queries + 1), `indices` (any number) positions of candidates, in any order, repeated or not.
    """

    indptr: Ints
    indices: Ints


def block_topk(
    queries: Factors,
    candidates: Factors,
    k: int,
    *,
    seen: Seen | None = None,
    eligible: NDArray[np.bool_] | None = None,
) -> tuple[Values, Keys]:
    """The k candidates of largest inner product with each query, best first.

    queries: (u, r) float32; candidates: (n, r) float32, of which only the rows where `eligible` (n,) is true are
    offered, and to a query none that it has `seen`. Returns the inner products (u, k) float64, ``-inf`` behind the
    last candidate, and the positions of the candidates (u, k) int64, there ``PAD_KEY``.

    Tiles are multiplied in float32; the best k + 16 are scored again in float64, each in the same order of terms.
    So a query's answer does not depend on the queries beside it, and of two equal candidates the one at the smaller
    position comes first.

    Raises: ValueError when the shapes or types do not fit, or k < 1.
    """
    _check(queries, candidates, k, seen, eligible)
    n = len(candidates)
    values = np.full((len(queries), k), -np.inf)
    keys = np.full((len(queries), k), PAD_KEY, dtype=np.int64)
    wanted = min(k + _SLACK, n)
    if wanted == 0 or len(queries) == 0:
        return values, keys
    barred = None if eligible is None else np.flatnonzero(~eligible)
    scratch = np.empty(min(QUERY_TILE, len(queries)) * min(CANDIDATE_TILE, n), dtype=np.float32)
    for top in range(0, len(queries), QUERY_TILE):
        rows = slice(top, min(top + QUERY_TILE, len(queries)))
        tile = queries[rows]
        struck = _struck_out(seen, rows, n)
        best = Selection(len(tile), wanted)
        for first in range(0, n, CANDIDATE_TILE):
            block = candidates[first : first + CANDIDATE_TILE]
            scores = scratch[: len(tile) * len(block)].reshape(len(tile), len(block))
            np.matmul(tile, block.T, out=scores)
            if barred is not None:
                low, high = np.searchsorted(barred, (first, first + len(block)))
                scores[:, barred[low:high] - first] = -np.inf
            row, column = next(struck)
            scores[row, column] = -np.inf
            best.scan(scores, first)
        found = best.best()[1]
        exact = _scored_again(tile, candidates, found)
        order = np.lexsort((found, -exact), axis=-1)[:, :k]
        values[rows, : order.shape[1]] = np.take_along_axis(exact, order, axis=1)
        keys[rows, : order.shape[1]] = np.take_along_axis(found, order, axis=1)
    return values, keys


def _struck_out(seen: Seen | None, rows: slice, n: int) -> Iterator[tuple[Ints, Ints]]:
    """For each tile of candidates in turn: the cells (row, column in the tile) that the queries `rows` have seen."""
    tiles = np.arange(0, n + CANDIDATE_TILE, CANDIDATE_TILE)
    if seen is None:
        nothing = np.zeros(0, dtype=np.int64)
        yield from ((nothing, nothing) for _ in tiles[1:])
        return
    indptr = seen.indptr[rows.start : rows.stop + 1]
    item = seen.indices[indptr[0] : indptr[-1]]
    row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    order = np.argsort(item, kind="stable")
    item, row = item[order], row[order]
    ends = np.searchsorted(item, tiles)
    for first, low, high in zip(tiles[:-1], ends[:-1], ends[1:], strict=True):
        yield row[low:high], item[low:high] - first


@compiled
def _scored_again(queries, candidates, keys):  # type: ignore[no-untyped-def]
    rows, wanted = keys.shape
    rank = queries.shape[1]
    scores = np.empty((rows, wanted))
    for row in range(rows):
        for place in range(wanted):
            key = keys[row, place]
            total = -np.inf
            if key >= 0:
                total = 0.0
                for i in range(rank):
                    total += np.float64(queries[row, i]) * np.float64(candidates[key, i])
            scores[row, place] = total
    return scores


def _check(
    queries: Factors, candidates: Factors, k: int, seen: Seen | None, eligible: NDArray[np.bool_] | None
) -> None:
    for name, matrix in (("queries", queries), ("candidates", candidates)):
        if matrix.ndim != 2 or matrix.dtype != np.float32:
            raise ValueError(f"{name}: expected a 2-d array of float32, got {matrix.ndim}-d {matrix.dtype}")
    if queries.shape[1] != candidates.shape[1]:
        raise ValueError(
            f"queries have {queries.shape[1]} factors, candidates {candidates.shape[1]}: they are of two models"
        )
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if seen is not None and len(seen.indptr) != len(queries) + 1:
        raise ValueError(f"seen: expected {len(queries) + 1} row bounds, got {len(seen.indptr)}")
    if (
        seen is not None
        and len(seen.indices)
        and not (seen.indices.min() >= 0 and seen.indices.max() < len(candidates))
    ):
        raise ValueError(f"seen: positions must be 0 to {len(candidates) - 1}")
    if eligible is not None and eligible.shape != (len(candidates),):
        raise ValueError(f"eligible: expected shape {(len(candidates),)}, got {eligible.shape}")
