"""From values of users to means with intervals, and to differences of models, in pairs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.kernels.resampling import Hashes, poisson_weights, random_signs

Floats = NDArray[np.float64]

_USERS = 1024  # users whose weights are made at a time, 8 bytes a replicate each


class Sums(NamedTuple):
    """What adds up over users. M models, Q metrics, B replicates; row 0 has every user once, rows 1 to B are resamples.

    total, n (1 + B, M, Q): sum and number of the values that are not NaN; apart, n_both: the same of the
    differences to the reference, where both have a value; flipped (B, M, Q): sums of differences of random sign;
    users, users_both (M, Q): how many users n and n_both are about, one with several rows counting once.
    """

    total: Floats
    n: Floats
    apart: Floats
    n_both: Floats
    flipped: Floats
    users: Floats
    users_both: Floats

    def plus(self, other: Sums) -> Sums:
        """The sums over the users of both."""
        return Sums(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Figures(NamedTuple):
    """Per model and metric, each (M, Q) float64, NaN where there is nothing.

    mean with lo and hi: mean over users and its 95 % interval; n: users; difference, difference_lo, difference_hi:
    model less reference over the `n_both` users of both, with interval; p_value: two-sided, of no difference.
    """

    mean: Floats
    lo: Floats
    hi: Floats
    n: Floats
    difference: Floats
    difference_lo: Floats
    difference_hi: Floats
    n_both: Floats
    p_value: Floats


def sums_of(values: Floats, users: Hashes, reference: int, replicates: int, seed: int) -> Sums:
    """`Sums` of some users: values (rows, M, Q), users (rows,) a hash of each row's user, reference: its model's index.

    A user may have several rows, all of them in one call and one after another: they are resampled together.
    """
    models, metrics = values.shape[1:]
    shape = (1 + replicates, models * metrics)
    total, n, apart, n_both = (np.zeros(shape) for _ in range(4))
    flipped = np.zeros((replicates, models * metrics))
    flat = values.reshape(len(values), models * metrics)
    against = (values - values[:, reference : reference + 1]).reshape(flat.shape)
    for first in range(0, len(flat), _USERS):
        rows = slice(first, first + _USERS)
        weights = np.empty((1 + replicates, len(flat[rows])))
        weights[0] = 1.0
        weights[1:] = poisson_weights(users[rows], replicates, seed).T
        signs = random_signs(users[rows], replicates, seed).T
        for value, sums, counts in ((flat[rows], total, n), (against[rows], apart, n_both)):
            there = ~np.isnan(value)
            sums += weights @ np.where(there, value, 0.0)
            counts += weights @ there.astype(np.float64)
        flipped += signs @ np.nan_to_num(against[rows])
    counted = (_distinct(users, ~np.isnan(value)) for value in (flat, against))
    added = [part.reshape(-1, models, metrics) for part in (total, n, apart, n_both, flipped)]
    return Sums(*added, *(count.reshape(models, metrics) for count in counted))


def figures_of(sums: Sums) -> Figures:
    """Means, percentile intervals of the bootstrap (Efron and Tibshirani 1993, chapter 13) and randomisation tests.

    p = (1 + replicates of random signs whose |sum| is at least the observed one) / (1 + replicates): if the models
    were alike, each user's difference could as well have had the other sign (Smucker, Allan and Carterette 2007, "A
    Comparison of Statistical Significance Tests for Information Retrieval Evaluation").
    """
    mean, difference = _ratio(sums.total, sums.n), _ratio(sums.apart, sums.n_both)
    lo, hi = _interval(mean[1:])
    difference_lo, difference_hi = _interval(difference[1:])
    # Equal sums may differ in their last bits.
    observed = np.abs(sums.apart[0]) * (1 - 1e-12)
    as_far = (np.abs(sums.flipped) >= observed).sum(axis=0)
    p_value = np.where(sums.n_both[0] > 0, (1 + as_far) / (1 + len(sums.flipped)), np.nan)
    return Figures(
        mean[0], lo, hi, sums.users, difference[0], difference_lo, difference_hi, sums.users_both, p_value
    )


def _distinct(users: Hashes, there: NDArray[np.bool_]) -> Floats:
    """In each column, the users with a row that is there."""
    if len(users) == 0:
        return np.zeros(there.shape[1])
    first = np.flatnonzero(np.append(True, users[1:] != users[:-1]))
    return np.logical_or.reduceat(there, first, axis=0).sum(axis=0).astype(np.float64)


def _ratio(total: Floats, count: Floats) -> Floats:
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _interval(replicates: Floats) -> tuple[Floats, Floats]:
    """2.5 and 97.5 % points over the replicates; a resample without anybody is left out."""
    empty = np.isnan(replicates).all(axis=0)
    filled = np.where(empty, 0.0, replicates)
    lo, hi = np.nanquantile(filled, [0.025, 0.975], axis=0)
    return np.where(empty, np.nan, lo), np.where(empty, np.nan, hi)
