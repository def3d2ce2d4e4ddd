"""Factors of users from their history against fixed item factors (or of items against users): one half-step of ALS.

The normal equations are those of Hu, Koren and Volinsky 2008, "Collaborative Filtering for Implicit Feedback
Datasets", with the regularization of a row growing with its number of preferences (Zhou et al. 2008, ALS-WR), as
Spark's MLlib solves them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.kernels.compiled import compiled

Factors = NDArray[np.float32]
Ints = NDArray[np.integer]
Floats = NDArray[np.floating]
_GRAM_ROWS = 1 << 14  # copied to float64 at a time


def gram(factors: Factors) -> NDArray[np.float64]:
    """YᵀY (r, r) float64 of factors (n, r): what all rows of an implicit model share."""
    total = np.zeros((factors.shape[1], factors.shape[1]))
    for first in range(0, len(factors), _GRAM_ROWS):
        wide = factors[first : first + _GRAM_ROWS].astype(np.float64)
        total += wide.T @ wide
    return total


def fold_in_implicit(
    factors: Factors,
    gram: NDArray[np.float64],
    indptr: Ints,
    indices: Ints,
    preferences: Floats,
    *,
    regularization: float,
    alpha: float,
) -> Factors:
    """The factors (u, r) float32 of u rows of preferences under an implicit model.

    factors: (n, r) float32 of the other side, `gram` theirs. Row i has met ``indices[indptr[i] : indptr[i + 1]]``
    with as many `preferences` p. Its factors x solve ::

        (YᵀY + Σ α|p| y yᵀ + λ m I) x = Σ over p > 0 of (1 + α p) y,    m = number of its p > 0.

    That is, the confidence is 1 + α|p|, and a preference of 0 or less says "not liked". A row without a positive
    preference gets zeros. Each row is solved by itself: any split into blocks gives the same factors.

    Raises: ValueError when the arrays do not fit, a preference is not finite, or a row's equations are singular
    (`regularization` is 0, or factors are not finite).
    """
    _check(factors, indptr, indices, preferences)
    return _solved(factors, gram, indptr, indices, preferences, regularization, alpha, True)


def fold_in_explicit(
    factors: Factors, indptr: Ints, indices: Ints, ratings: Floats, *, regularization: float
) -> Factors:
    """The factors (u, r) float32 of u rows of ratings under an explicit model.

    As `fold_in_implicit`, but x solves (Σ y yᵀ + λ m I) x = Σ rating · y with m = number of ratings.
    """
    _check(factors, indptr, indices, ratings)
    nothing = np.zeros((factors.shape[1], factors.shape[1]))
    return _solved(factors, nothing, indptr, indices, ratings, regularization, 0.0, False)


def _solved(
    factors: Factors,
    shared: NDArray[np.float64],
    indptr: Ints,
    indices: Ints,
    values: Floats,
    regularization: float,
    alpha: float,
    implicit: bool,
) -> Factors:
    if shared.shape != (factors.shape[1], factors.shape[1]):
        raise ValueError(f"gram: expected shape {(factors.shape[1],) * 2}, got {shared.shape}")
    made = np.zeros((len(indptr) - 1, factors.shape[1]), dtype=np.float32)
    # MLlib holds preferences as float32: so do we, lest the last digits differ.
    held = values.astype(np.float32)
    bounds, positions = indptr.astype(np.int64), indices.astype(np.int64)
    singular = _solve_rows(factors, shared, bounds, positions, held, regularization, alpha, implicit, made)
    if singular >= 0:
        raise ValueError(
            f"row {singular}: its equations have no unique solution; expected a regularization above 0 and finite "
            f"factors, got regularization {regularization}"
        )
    return made


def _check(factors: Factors, indptr: Ints, indices: Ints, values: Floats) -> None:
    if factors.ndim != 2 or factors.dtype != np.float32:
        raise ValueError(f"factors: expected a 2-d array of float32, got {factors.ndim}-d {factors.dtype}")
    if len(indptr) < 1 or len(indices) != len(values) or indptr[-1] > len(indices):
        raise ValueError(
            f"expected as many indices as values and row bounds within them, got {len(indices)} indices, "
            f"{len(values)} values and {len(indptr)} bounds"
        )
    if len(indices) and not (indices.min() >= 0 and indices.max() < len(factors)):
        raise ValueError(f"indices must be 0 to {len(factors) - 1}")
    if not np.isfinite(values).all():
        raise ValueError("values must be finite")


@compiled
def _solve_rows(factors, shared, indptr, indices, values, regularization, alpha, implicit, out):  # type: ignore[no-untyped-def]
    """Fills `out`; the first row without a unique solution, or -1."""
    rank = factors.shape[1]
    left, right = np.empty((rank, rank)), np.empty(rank)
    for row in range(len(indptr) - 1):
        for i in range(rank):
            right[i] = 0.0
            for j in range(i, rank):
                left[i, j] = shared[i, j]
        counted = 0
        for at in range(indptr[row], indptr[row + 1]):
            value = float(values[at])
            weight, target = 1.0, value
            if implicit:
                weight = alpha * abs(value)
                target = 1.0 + weight if value > 0 else 0.0
            if value > 0 or not implicit:
                counted += 1
            line = factors[indices[at]]
            for i in range(rank):
                scaled = weight * line[i]
                right[i] += target * line[i]
                for j in range(i, rank):
                    left[i, j] += scaled * line[j]
        if counted == 0:
            continue
        for i in range(rank):
            left[i, i] += regularization * counted
        if not _cholesky_solve(left, right):
            return row
        for i in range(rank):
            out[row, i] = right[i]
    return -1


@compiled
def _cholesky_solve(left, right):  # type: ignore[no-untyped-def]
    """Solves left · x = right in place from the upper triangle; False where it is not positive definite."""
    rank = len(right)
    for i in range(rank):
        pivot = left[i, i]
        if not (pivot > 0.0 and pivot < np.inf):
            return False
        root = np.sqrt(pivot)
        for j in range(i, rank):
            left[i, j] /= root
        for m in range(i + 1, rank):
            factor = left[i, m]
            for j in range(m, rank):
                left[m, j] -= factor * left[i, j]
    for i in range(rank):
        right[i] /= left[i, i]
        for j in range(i + 1, rank):
            right[j] -= left[i, j] * right[i]
    for i in range(rank - 1, -1, -1):
        for j in range(i + 1, rank):
            right[i] -= left[i, j] * right[j]
        right[i] /= left[i, i]
    return True
