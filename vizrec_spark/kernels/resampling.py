"""Random numbers of users: weights of the bootstrap and signs of the randomisation test, by hash.

A number depends on seed, user and replicate alone. So every model and metric meets the same resamples of the users,
which makes comparisons paired, and the result is the same however Spark lays out the rows.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_WEIGHTS, _SIGNS = 1, 2
_STEP = np.uint64(0x9E3779B97F4A7C15)
# P(Poisson(1) ≤ 0, 1, 2, ...); beyond the last the chance is below 1e-16.
_POISSON = np.cumsum([math.exp(-1.0) / math.factorial(n) for n in range(18)])


def poisson_weights(users: Hashes, replicates: int, seed: int) -> NDArray[np.float64]:
    """How often each user is drawn in each resample: Poisson(1), (users, replicates) float64.

    The bootstrap of n users draws each Binomial(n, 1/n) times, which is Poisson(1) for more than a few; drawn so, the
    users are independent and need not be in one place (Hanley and MacGibbon 2006, "Creating Non-Parametric Bootstrap
    Samples Using Poisson Frequencies"; Chamandy et al. 2012, "Estimating Uncertainty for Massive Data Streams").
    """
    uniform = (_bits(users, replicates, seed, _WEIGHTS) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.searchsorted(_POISSON, uniform, side="right").astype(np.float64)


def random_signs(users: Hashes, replicates: int, seed: int) -> NDArray[np.float64]:
    """+1 or −1 with equal chance, (users, replicates) float64."""
    top = _bits(users, replicates, seed, _SIGNS) >> np.uint64(63)
    return 1.0 - 2.0 * top.astype(np.float64)


def _bits(users: Hashes, replicates: int, seed: int, purpose: int) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea and Flood 2014, "Fast Splittable Pseudorandom Number Generators"): each user a stream."""
    with np.errstate(over="ignore"):
        salt = _mixed(np.array([(seed * 4 + purpose) % 2**64], dtype=np.uint64) * _STEP)
        start = _mixed(users ^ salt)
        return _mixed(start[:, None] + np.arange(1, replicates + 1, dtype=np.uint64)[None, :] * _STEP)


def _mixed(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))
