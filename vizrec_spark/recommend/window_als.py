"""ALS on the training window alone, so that what judges the blend has not seen the validation window.

It solves what MLlib's ALS solves, by half-steps of `kernels.fold_in` in the same order, users last, from summed weights
or latest ratings; filters and the half-life of stage `als` are left out here. The published lists use the factors of
stage `als`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.config.models import AlsConfig
from vizrec_spark.kernels.fold_in import fold_in_explicit, fold_in_implicit, gram
from vizrec_spark.recommend.log import Log, rows_of

Factors = NDArray[np.float32]


def window_als(log: Log, config: AlsConfig) -> tuple[Factors, Factors]:
    """User factors (n_users, rank) and item factors (n_items, rank); zero rows for what has no preference."""
    held = log.preference > 0 if config.preference == "implicit" else np.isfinite(log.preference)
    known = log.where(held)
    value = known.preference
    of_user, items, by_user = rows_of(known.user, known.item, known.n_users)
    of_item, users, by_item = rows_of(known.item, known.user, known.n_items)
    rng = np.random.default_rng(config.seed)
    user_factors = np.abs(rng.normal(size=(log.n_users, config.rank))).astype(np.float32)
    user_factors /= np.linalg.norm(user_factors, axis=1, keepdims=True)
    user_factors[np.diff(of_user) == 0] = 0.0  # who has no preference is no part of the model
    item_factors = np.zeros((log.n_items, config.rank), dtype=np.float32)
    for _ in range(config.iterations):
        item_factors = _half_step(user_factors, of_item, users, value[by_item], config)
        user_factors = _half_step(item_factors, of_user, items, value[by_user], config)
    return user_factors, item_factors


def _half_step(
    factors: Factors,
    indptr: NDArray[np.int64],
    indices: NDArray[np.int64],
    value: NDArray[np.float64],
    config: AlsConfig,
) -> Factors:
    regularization = max(config.regularization, 1e-6)
    if config.preference == "implicit":
        return fold_in_implicit(
            factors, gram(factors), indptr, indices, value, regularization=regularization, alpha=config.alpha
        )
    return fold_in_explicit(factors, indptr, indices, value, regularization=regularization)
