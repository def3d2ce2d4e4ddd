"""The k best candidates of each query by inner product, without the queries × candidates matrix.

A tile of queries meets a tile of candidates in one matrix product; what a query has seen and what is not eligible
is struck out in the tile, and whatever may be among the k best is kept (`kernels.shortlist`) and settled in float64.
Scratch is one tile of 4 · QUERY_TILE · CANDIDATE_TILE bytes and one shortlist of 12 · QUERY_TILE · (2k + 256),
whatever the number of queries and candidates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.kernels.compiled import compiled
from vizrec_spark.kernels.selection import PAD_KEY, Keys, Selection
from vizrec_spark.kernels.shortlist import Shortlist

Factors = NDArray[np.float32]
Ints = NDArray[np.integer]
Values = NDArray[np.float64]

QUERY_TILE = 128
CANDIDATE_TILE = 8192


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

    The order is that of the inner products in float64, summed in one fixed order, and of equal ones the smaller
    position comes first. Tiles are multiplied in float32, in which a product is off by at most e = r · 2^-24 · |query|
    · the largest |candidate| (Higham 2002, "Accuracy and Stability of Numerical Algorithms", 3.1), so all within 2e of
    the k-th best are scored again. Where those are more than k + 224, as among many equal candidates, the row is
    scored again as a whole. So an answer depends neither on the queries beside it nor on the tiles.

    Raises: ValueError when the shapes or types do not fit, a factor is not finite or too large to be multiplied in
    float32, or k < 1.
    """
    _check(queries, candidates, k, seen, eligible)
    n = len(candidates)
    values = np.full((len(queries), k), -np.inf)
    keys = np.full((len(queries), k), PAD_KEY, dtype=np.int64)
    if n == 0 or len(queries) == 0:
        return values, keys
    slack = _slack(queries, candidates)
    met = Seen(np.zeros(len(queries) + 1, dtype=np.int64), np.zeros(0, dtype=np.int64))
    if seen is not None:
        met = Seen(seen.indptr.astype(np.int64, copy=False), seen.indices.astype(np.int64, copy=False))
    offered = np.zeros(0, dtype=np.bool_) if eligible is None else eligible
    wanted = min(k, n)
    scratch = np.empty(min(QUERY_TILE, len(queries)) * min(CANDIDATE_TILE, n), dtype=np.float32)
    for top in range(0, len(queries), QUERY_TILE):
        rows = slice(top, min(top + QUERY_TILE, len(queries)))
        tile, bounds = queries[rows], met.indptr[rows.start : rows.stop + 1]
        best = Shortlist(len(tile), wanted, slack[rows])
        for first in range(0, n, CANDIDATE_TILE):
            block = candidates[first : first + CANDIDATE_TILE]
            scores = scratch[: len(tile) * len(block)].reshape(len(tile), len(block))
            np.matmul(tile, block.T, out=scores)
            _strike_out(scores, first, bounds, met.indices, offered)
            best.scan(scores, first)
        best.close()
        _settle(tile, candidates, best.keys, best.lengths, values[rows], keys[rows])
        for row in np.flatnonzero(best.lengths < 0):
            exact = _scored(tile[row], candidates)[None, :]
            _strike_out(exact, 0, bounds[row : row + 2], met.indices, offered)
            whole = Selection(1, wanted, np.float64)
            whole.scan(exact)
            found, names = whole.best()
            values[top + row, :wanted] = found[0]
            keys[top + row, :wanted] = np.where(np.isneginf(found[0]), PAD_KEY, names[0])
    return values, keys


def _slack(queries: Factors, candidates: Factors) -> NDArray[np.float32]:
    """2e for each query, with as much again for the roundings of the bound itself.

    Raises: ValueError when a factor is not finite, or products might leave the range of float32.
    """
    longest = float(np.sqrt(_squares(candidates).max()))
    with np.errstate(invalid="ignore"):
        reach = np.sqrt(_squares(queries)) * longest
    if not (reach < np.finfo(np.float32).max / 4).all():
        raise ValueError(
            "factors must be finite and their inner products below 8e37, found larger ones, infinity or NaN"
        )
    rank = queries.shape[1]
    return ((rank + 1) * (2.0**-22 * reach + 4 * float(np.finfo(np.float32).tiny))).astype(np.float32)


@compiled
def _squares(matrix):  # type: ignore[no-untyped-def]
    """The squared length of each row, float64; infinity where a number is NaN."""
    rows, rank = matrix.shape
    squares = np.zeros(rows)
    for row in range(rows):
        total = 0.0
        for i in range(rank):
            total += np.float64(matrix[row, i]) * np.float64(matrix[row, i])
        squares[row] = np.inf if np.isnan(total) else total
    return squares


@compiled
def _strike_out(scores, first, indptr, indices, eligible):  # type: ignore[no-untyped-def]
    """Sets to -inf what is not eligible (none: all are) and what each row has seen, in the tile from `first`."""
    rows, columns = scores.shape
    for row in range(rows):
        line = scores[row]
        if len(eligible):
            for column in range(columns):
                line[column] = line[column] if eligible[first + column] else -np.inf
        for at in range(indptr[row], indptr[row + 1]):
            column = indices[at] - first
            if 0 <= column < columns:
                line[column] = -np.inf


@compiled
def _product(query, candidate):  # type: ignore[no-untyped-def]
    """The inner product in float64; four sums, of every fourth term each, whatever the processor."""
    rank = len(query)
    a = b = c = d = 0.0
    whole = rank - rank % 4
    for i in range(0, whole, 4):
        a += np.float64(query[i]) * np.float64(candidate[i])
        b += np.float64(query[i + 1]) * np.float64(candidate[i + 1])
        c += np.float64(query[i + 2]) * np.float64(candidate[i + 2])
        d += np.float64(query[i + 3]) * np.float64(candidate[i + 3])
    for i in range(whole, rank):
        a += np.float64(query[i]) * np.float64(candidate[i])
    return (a + b) + (c + d)


@compiled
def _scored(query, candidates):  # type: ignore[no-untyped-def]
    scores = np.empty(len(candidates))
    for key in range(len(candidates)):
        scores[key] = _product(query, candidates[key])
    return scores


@compiled
def _settle(queries, candidates, keys, lengths, out_values, out_keys):  # type: ignore[no-untyped-def]
    """Fills in the best of each row's shortlist; rows of length -1 are left as they are."""
    for row in range(len(queries)):
        size = lengths[row]
        if size <= 0:
            continue
        below = np.empty(size)
        for place in range(size):
            below[place] = -_product(queries[row], candidates[keys[row, place]])
        # Keys ascend, so that a stable sort leaves the smaller of equals first.
        order = np.argsort(below, kind="mergesort")
        for place in range(min(size, out_values.shape[1])):
            out_values[row, place] = -below[order[place]]
            out_keys[row, place] = keys[row, order[place]]


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
