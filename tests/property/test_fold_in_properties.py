"""Folding in against the normal equations written out with numpy's solver."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizrec_spark.kernels.fold_in import fold_in_explicit, fold_in_implicit, gram


def _rows(random: np.random.Generator, n: int, users: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lengths = random.integers(0, n + 1, users)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    indices = np.concatenate([random.permutation(n)[:length] for length in lengths])
    return indptr, indices, random.normal(1.0, 1.5, len(indices))


def _oracle(y: np.ndarray, shared: np.ndarray, p: np.ndarray, lam: float, alpha: float | None) -> np.ndarray:
    p = p.astype(np.float32).astype(float)
    weight = np.ones(len(p)) if alpha is None else alpha * np.abs(p)
    target = p if alpha is None else np.where(p > 0, 1 + weight, 0)
    counted = len(p) if alpha is None else int((p > 0).sum())
    if counted == 0:
        return np.zeros(y.shape[1])
    left = shared + y.T @ (weight[:, None] * y) + lam * counted * np.eye(y.shape[1])
    return np.linalg.solve(left, y.T @ target)


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 30),
    users=st.integers(1, 8),
    rank=st.integers(1, 12),
    alpha=st.sampled_from([None, 0.0, 1.0, 40.0]),
)
def test_each_row_solves_its_equations(seed: int, n: int, users: int, rank: int, alpha: float | None) -> None:
    random = np.random.default_rng(seed)
    factors = random.normal(size=(n, rank)).astype(np.float32)
    indptr, indices, values = _rows(random, n, users)
    shared = np.zeros((rank, rank)) if alpha is None else gram(factors)
    if alpha is None:
        got = fold_in_explicit(factors, indptr, indices, values, regularization=0.1)
    else:
        got = fold_in_implicit(factors, shared, indptr, indices, values, regularization=0.1, alpha=alpha)
    assert got.shape == (users, rank) and got.dtype == np.float32
    for row, (low, high) in enumerate(pairwise(indptr.tolist())):
        wanted = _oracle(factors[indices[low:high]].astype(float), shared, values[low:high], 0.1, alpha)
        np.testing.assert_allclose(got[row], wanted, rtol=1e-4, atol=1e-5)


def test_any_split_into_blocks_gives_the_same_factors() -> None:
    random = np.random.default_rng(2)
    factors = random.normal(size=(50, 16)).astype(np.float32)
    indptr, indices, values = _rows(random, 50, 20)
    shared = gram(factors)

    def fold(low: int, high: int) -> np.ndarray:
        rows = slice(indptr[low], indptr[high])
        return fold_in_implicit(
            factors,
            shared,
            indptr[low : high + 1] - indptr[low],
            indices[rows],
            values[rows],
            regularization=0.05,
            alpha=10.0,
        )

    np.testing.assert_array_equal(fold(0, 20), np.concatenate([fold(i, i + 1) for i in range(20)]))


def test_without_regularization_a_short_history_is_refused() -> None:
    factors = np.eye(3, dtype=np.float32)
    with pytest.raises(ValueError, match=r"row 1: its equations have no unique solution.*above 0"):
        fold_in_explicit(factors, np.array([0, 3, 4]), np.array([0, 1, 2, 0]), np.ones(4), regularization=0.0)


@pytest.mark.parametrize(
    ("indices", "values", "message"),
    [
        ([0, 3], [1.0, 1.0], "0 to 2"),
        ([0], [1.0, 1.0], "as many indices as values"),
        ([0, 1], [1.0, np.nan], "finite"),
    ],
)
def test_what_does_not_fit_is_named(indices: list[int], values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fold_in_explicit(
            np.eye(3, dtype=np.float32),
            np.array([0, 2]),
            np.array(indices),
            np.array(values),
            regularization=0.1,
        )
