"""Cosine and Euclidean scores of two blocks of vectors, from one matrix product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.errors import InputError
from vizrec_spark.kernels.topk import PAD_KEY, merge_topk, topk_rows

Metric = Literal["cosine", "euclidean"]

# Two equal vectors come out of a float32 product this far, relatively, from cosine 1 and distance 0. Closer
# than that is read as equal, so that duplicates tie exactly and their order is that of their ids.
ROUNDING = np.float32(1e-6)

# Queries scored at once: bounds the score matrix, and keeps it in the processor's cache between passes.
STRIP_ROWS = 512

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Nearest:
    """The nearest candidates of q queries: three arrays of q × k, best first.

    keys: int64 candidate positions, ``-1`` where there is none; cosine: float32 in [-1, 1];
    distance: float32, Euclidean.
    """

    keys: NDArray[np.int64]
    cosine: Floats
    distance: Floats

    def score(self, metric: Metric) -> Floats:
        """What ranks them, higher is better, ``-inf`` where there is no candidate."""
        return rank_score(self.cosine, self.distance, metric, self.keys == PAD_KEY)


def rank_score(cosine: Floats, distance: Floats, metric: Metric, missing: NDArray[np.bool_]) -> Floats:
    """Cosine as it is, or the distance with its sign turned; ``-inf`` where `missing`."""
    score = cosine if metric == "cosine" else -distance
    return np.where(missing, np.float32(-np.inf), score)


def above(score: Floats) -> Floats:
    """The scores beyond which another is larger, and not equal and rounded otherwise."""
    return (score + np.maximum(np.abs(score), np.float32(1e-3)) * ROUNDING).astype(np.float32)


def squared_norms(matrix: Floats) -> Floats:
    """|x|² of each row (n float32)."""
    return np.einsum("ij,ij->i", matrix, matrix, dtype=np.float32)


def checked_squares(matrix: Floats) -> Floats:
    """`squared_norms` of vectors that are to be compared.

    Raises: InputError when one is longer than float32 can square, so that its cosine with anything would be 0.
    """
    squares = squared_norms(matrix)
    if len(squares) and not np.isfinite(squares.max()):
        raise InputError(
            "expected vectors shorter than 1.8e19, whose squared length float32 can hold, got a longer one: "
            "scale the encoder's output down"
        )
    return squares


def unit_rows(matrix: Floats) -> Floats:
    """Each row divided by its length; a zero row stays zero."""
    return matrix * _inverse(np.sqrt(squared_norms(matrix)))[:, None]


def nearest_in_block(
    queries: Floats,
    base: Floats,
    k: int,
    metric: Metric,
    same: NDArray[np.int64],
    allowed: NDArray[np.bool_] | None = None,
) -> Nearest:
    """The k nearest rows of `base` (n × d) for each row of `queries` (q × d).

    `same` (q int64) is the row of `base` that is the query itself and is left out, or -1; `allowed` (q × n): which rows
    a query may get, None for all.
    The cosine with a zero vector is 0. d² = |a|² + |b|² − 2ab, never below 0.
    """
    if len(queries) == 0 or len(base) == 0:
        return no_neighbors(len(queries), k)
    norms = squared_norms(base)
    runs = [slice(at, at + STRIP_ROWS) for at in range(0, len(queries), STRIP_ROWS)]
    strips = [
        _nearest_in_strip(
            queries[run], base, norms, k, metric, same[run], None if allowed is None else allowed[run]
        )
        for run in runs
    ]
    return Nearest(
        keys=np.concatenate([strip.keys for strip in strips]),
        cosine=np.concatenate([strip.cosine for strip in strips]),
        distance=np.concatenate([strip.distance for strip in strips]),
    )


def no_neighbors(rows: int, k: int) -> Nearest:
    """The lists of `rows` queries before any candidate was seen."""
    zeros = np.zeros((rows, k), dtype=np.float32)
    return Nearest(np.full((rows, k), PAD_KEY, dtype=np.int64), zeros, zeros)


def merge_nearest(left: Nearest, right: Nearest, k: int, metric: Metric) -> Nearest:
    """The k nearest of two lists per query that share no key; equal scores are in the order of the keys."""
    _, keys, columns = merge_topk(left.score(metric), left.keys, right.score(metric), right.keys, k)
    at = np.maximum(columns, 0)
    cosine = np.concatenate([left.cosine, right.cosine], axis=1)
    distance = np.concatenate([left.distance, right.distance], axis=1)
    return Nearest(keys, np.take_along_axis(cosine, at, axis=1), np.take_along_axis(distance, at, axis=1))


def _nearest_in_strip(
    queries: Floats,
    base: Floats,
    base_norms: Floats,
    k: int,
    metric: Metric,
    same: NDArray[np.int64],
    allowed: NDArray[np.bool_] | None,
) -> Nearest:
    dot = queries @ base.T
    query_norms = squared_norms(queries)[:, None]
    if metric == "cosine":
        scores = cosine_of(dot, query_norms, base_norms)
    else:
        scores = -squared_distance_of(dot, query_norms, base_norms)
    if allowed is not None:
        scores[~allowed] = -np.inf
    itself = np.flatnonzero(same >= 0)
    scores[itself, same[itself]] = -np.inf
    _, keys = topk_rows(scores, k)
    at = np.maximum(keys, 0)  # a padded place borrows row 0; its key says that it does not count
    chosen, norms = np.take_along_axis(dot, at, axis=1), base_norms[at]
    return Nearest(
        keys=keys,
        cosine=cosine_of(chosen, query_norms, norms),
        distance=np.sqrt(squared_distance_of(chosen, query_norms, norms)),
    )


def _inverse(lengths: Floats) -> Floats:
    return np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)


def cosine_of(dot: Floats, left: Floats, right: Floats) -> Floats:
    """The cosines from inner products and squared lengths, in [-1, 1]; 0 where a length is 0."""
    cosine = dot * _inverse(np.sqrt(left))
    cosine *= _inverse(np.sqrt(right))
    np.clip(cosine, -1.0, 1.0, out=cosine)
    cosine[cosine > 1 - ROUNDING] = 1.0
    return cosine


def squared_distance_of(dot: Floats, left: Floats, right: Floats) -> Floats:
    """The squared distances from inner products and squared lengths, never below 0."""
    total = left + right
    squared = total - 2 * dot
    squared[squared < ROUNDING * total] = 0.0
    return squared
