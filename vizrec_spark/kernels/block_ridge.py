"""Ridge regression from blocks of features, each with its own regularization, chosen by leaving rows out.

Pictures and catalogue attributes differ in how much they say; under one penalty a thousand picture features drown
twenty attributes. Here block b enters as √s_b · X_b, which is the penalty 1 / s_b on its weights, and the scales s
are those of the least leave-one-out error, which a linear smoother gives in closed form from one factorisation
(PRESS: Allen 1974; e_i / (1 − h_ii)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating]

SCALES = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_ROUNDS = 3


@dataclass(frozen=True)
class BlockRidge:
    """A fitted model.

    `scales` (b,): of each block, 0 leaves it out; `means` and `target_mean` are taken off and added; `weights`
    (columns of all blocks, t); `error`: the leave-one-out squared error as a share of that of the mean, in the metric
    given to `fit_block_ridge`; `left_out` (n, t): predictions of the rows by models without them.
    """

    scales: tuple[float, ...]
    means: tuple[NDArray[np.float64], ...]
    target_mean: NDArray[np.float64]
    weights: NDArray[np.float64]
    error: float
    left_out: NDArray[np.float64]

    def predict(self, blocks: Sequence[Matrix]) -> NDArray[np.float64]:
        """Targets (m, t) of m rows given as the same blocks."""
        return _joined(blocks, self.means, self.scales) @ self.weights + self.target_mean


def fit_block_ridge(
    blocks: Sequence[Matrix],
    target: Matrix,
    metric: Matrix | None = None,
    present: NDArray[np.bool_] | None = None,
) -> BlockRidge:
    """Regresses `target` (n, t) on blocks (n, p_b).

    `metric` (t, t), symmetric and positive: errors e count eᵀ M e, so that only directions that matter downstream
    choose the scales; left out, the identity. `present` (n, b) bool: rows whose block b is unknown count with zeros
    after centring. Scales are chosen one at a time over `SCALES`, in rounds, by the leave-one-out error; cost is one
    factorisation of all columns and a few products of them with the rows for each block and round.

    Raises: ValueError when there is no row.
    """
    n = len(target)
    if n == 0:
        raise ValueError("expected at least one row to learn from, got none")
    known = np.ones((n, len(blocks)), dtype=bool) if present is None else present.astype(bool)
    means = tuple(
        block[known[:, b]].mean(axis=0, dtype=np.float64) if known[:, b].any() else np.zeros(block.shape[1])
        for b, block in enumerate(blocks)
    )
    target_mean = target.mean(axis=0, dtype=np.float64)
    centred = target - target_mean
    shaped = centred if metric is None else centred @ np.linalg.cholesky(metric + _jitter(metric))
    whole = max(float(np.square(shaped).sum()), 1e-300)
    parts = [np.where(known[:, b, None], block - means[b], 0.0) for b, block in enumerate(blocks)]
    grams = Grams(parts)
    scales = (0.0,) * len(blocks)
    best = 1.0
    for _ in range(_ROUNDS):
        before = best
        for b in range(len(blocks)):
            for scale, squared in zip(SCALES, grams.errors_by_scale(scales, b, shaped), strict=True):
                if squared / whole < best - 1e-6:
                    best, scales = squared / whole, (*scales[:b], scale, *scales[b + 1 :])
        if before - best < 1e-4:
            break
    design = np.hstack([np.sqrt(s) * part for s, part in zip(scales, parts, strict=True)])
    weights = np.linalg.solve(design.T @ design + np.eye(design.shape[1]), design.T @ centred)
    left_out = target - grams.left_out_errors(scales, centred)
    return BlockRidge(scales, means, target_mean, weights, best, left_out)


def _joined(
    blocks: Sequence[Matrix], means: Sequence[NDArray[np.float64]], scales: Sequence[float]
) -> NDArray[np.float64]:
    """Blocks side by side, centred and scaled; a row of NaN counts as one of which nothing is known."""
    return np.hstack(
        [
            np.sqrt(scale) * np.nan_to_num(block - mean)
            for block, mean, scale in zip(blocks, means, scales, strict=True)
        ]
    )


class Grams:
    """What every choice of scales shares: the centred blocks side by side and their inner products."""

    def __init__(self, parts: Sequence[Matrix]) -> None:
        self._all = np.hstack(parts) if parts else np.zeros((0, 0))
        self._width = [part.shape[1] for part in parts]
        self._inner = self._all.T @ self._all

    def errors_by_scale(self, scales: Sequence[float], b: int, target: Matrix) -> list[float]:
        """The sum of squares of `left_out_errors` with each of `SCALES` in place of the scale of block b.

        The other blocks X, scaled, are the same in all of them, so they are taken out once: with A = XᵀX + I, the
        rest of block b is Z = B − X A⁻¹ XᵀB, and what predictions gain from it under a scale s is Z (BᵀZ + I / s)⁻¹ Zᵀ
        (the inverse of a matrix in blocks), diagonal for all s in the axes of BᵀZ.
        """
        of_block = np.repeat(np.arange(len(self._width)), self._width)
        root = np.repeat(np.sqrt(scales), self._width)
        others, own = (root > 0) & (of_block != b), of_block == b
        leverage = np.full(len(target), 1.0 / len(target))
        fitted = np.zeros_like(target)
        rest = self._all[:, own]
        if others.any():
            design = self._all[:, others] * root[others]
            inner = self._inner[np.ix_(others, others)] * np.outer(root[others], root[others])
            smoothed = design @ np.linalg.inv(inner + np.eye(len(inner)))
            leverage = leverage + np.einsum("ij,ij->i", smoothed, design)
            fitted = smoothed @ (design.T @ target)
            rest = rest - smoothed @ (design.T @ rest)
        spread, axes = np.linalg.eigh(self._all[:, own].T @ rest)
        turned = rest @ axes
        aimed, squares = turned.T @ target, np.square(turned)
        errors = []
        for scale in SCALES:
            gain = np.zeros(len(spread)) if scale == 0 else 1.0 / (np.maximum(spread, 0.0) + 1.0 / scale)
            left = (target - fitted - turned @ (gain[:, None] * aimed)) / np.maximum(
                1.0 - leverage - squares @ gain, 1e-6
            )[:, None]
            errors.append(float(np.square(left).sum()))
        return errors

    def left_out_errors(self, scales: Sequence[float], target: Matrix) -> NDArray[np.float64]:
        """What each row's target is away from its prediction by a model that did not see it (n, t).

        The mean is fitted too: it adds 1 / n to the leverage of every row.
        """
        n = len(target)
        root = np.repeat(np.sqrt(scales), self._width)
        used = root > 0
        leverage = np.full(n, 1.0 / n)
        fitted = np.zeros_like(target)
        if used.any():
            design = self._all[:, used] * root[used]
            inner = self._inner[np.ix_(used, used)] * np.outer(root[used], root[used])
            inverse = np.linalg.inv(inner + np.eye(len(inner)))
            smoothed = design @ inverse
            leverage += np.einsum("ij,ij->i", smoothed, design)
            fitted = smoothed @ (design.T @ target)
        return (target - fitted) / np.maximum(1.0 - leverage, 1e-6)[:, None]


def _jitter(metric: Matrix) -> NDArray[np.float64]:
    size = len(metric)
    return np.eye(size) * max(float(np.trace(metric)) / size, 1e-12) * 1e-9
