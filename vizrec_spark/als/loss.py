"""The objective that ALS minimises, and how it falls from iteration to iteration on a sample.

MLlib shows nothing between its first iteration and its last. So the same iterations are run on a sample of users that
fits the driver, with the half-step that equals MLlib's (`kernels.fold_in`): one sees after how many it stands still.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import AlsConfig
from vizrec_spark.kernels.fold_in import fold_in_explicit, fold_in_implicit, gram

Factors = NDArray[np.float32]
Ints = NDArray[np.int64]
_CHUNK = 1 << 16  # preferences looked at together
_SHARES = 1 << 20
_WORK = 1e11  # multiplications


class Sample(NamedTuple):
    """Preferences as flat arrays: `user` (row of `users`), `item` (row of `items`) and `value`, sorted by user."""

    users: list[str]
    items: list[str]
    user: Ints
    item: Ints
    value: NDArray[np.float64]


def sampled(preferences: DataFrame, size: int, share: float) -> Sample:
    """About a `share` of the users with all their preferences, at most `size` rows (which the driver then holds)."""
    part = F.pmod(F.xxhash64("user_id"), F.lit(_SHARES)) < F.lit(int(share * _SHARES) + 1)
    rows = preferences.where(part).orderBy("user_id", "item_id").limit(size).toPandas()
    user, users = pd.factorize(rows["user_id"])
    item, items = pd.factorize(rows["item_id"], sort=True)
    return Sample(
        list(users),
        list(items),
        user.astype(np.int64),
        item.astype(np.int64),
        rows["preference"].to_numpy(float),
    )


def loss(
    x: Factors, y: Factors, sample: Sample, config: AlsConfig, gram_y: NDArray[np.float64] | None = None
) -> float:
    """MLlib's objective over the users of a sample, divided by the number of its preferences.

    x: (users, r) and y: (items, r) float32, by row. gram_y: YᵀY of all items where the sample has not met all of
    them. With c = 1 + α|p|, t = 1 where p > 0 and else 0, m_u and n_i the number of preferences (implicit: p > 0),

    implicit: Σ over all u, i of c (t − x_u · y_i)² + λ (Σ m_u |x_u|² + Σ n_i |y_i|²), where p = 0 for unknown pairs;
    explicit: Σ over the ratings of (p − x_u · y_i)² + the same.
    """
    implicit = config.preference == "implicit"
    total = 0.0
    if implicit:
        shared = gram(y) if gram_y is None else gram_y
        wide = x.astype(np.float64)
        total += float(np.einsum("ur,rs,us->", wide, shared, wide, optimize=True))
    for first in range(0, len(sample.value), _CHUNK):
        rows = slice(first, first + _CHUNK)
        score = np.einsum("ur,ur->u", x[sample.user[rows]].astype(float), y[sample.item[rows]].astype(float))
        value = sample.value[rows]
        if implicit:
            target = (value > 0).astype(float)
            confidence = 1.0 + config.alpha * np.abs(value)
            total += float((confidence * (target - score) ** 2 - score**2).sum())
        else:
            total += float(((value - score) ** 2).sum())
    counted = sample.value > 0 if implicit else np.ones(len(sample.value), dtype=bool)
    for factors, side in ((x, sample.user), (y, sample.item)):
        lengths = np.bincount(side[counted], minlength=len(factors))
        total += config.regularization * float(lengths @ (factors.astype(np.float64) ** 2).sum(axis=1))
    return total / max(len(sample.value), 1)


def affordable(rank: int, iterations: int) -> int:
    """How many preferences `convergence` may run on for at most some 10^11 multiplications (a minute or two).

    A preference costs rank² on each side, and brings at most one user and one item of rank³ / 3 each.
    """
    each = 2 * rank**2 + 2 * rank**3 / 3
    return max(1, int(_WORK / (iterations * each)))


def convergence(sample: Sample, config: AlsConfig) -> list[float]:
    """The `loss` after each of the configured iterations of ALS on the sample alone.

    Random unit vectors first, then items and users in turn, as MLlib does it; the random numbers are others.
    """
    random = np.random.default_rng(config.seed)
    x = np.abs(random.standard_normal((len(sample.users), config.rank))).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    by_user = _rows(sample.user, sample.item, sample.value, len(sample.users))
    by_item = _rows(sample.item, sample.user, sample.value, len(sample.items))
    losses = []
    for _ in range(config.iterations):
        y = _half_step(x, by_item, config)
        x = _half_step(y, by_user, config)
        losses.append(loss(x, y, sample, config))
    return losses


def _rows(
    row: Ints, column: Ints, value: NDArray[np.float64], n: int
) -> tuple[Ints, Ints, NDArray[np.float64]]:
    order = np.lexsort((column, row))
    return np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))]), column[order], value[order]


def _half_step(fixed: Factors, rows: tuple[Ints, Ints, NDArray[np.float64]], config: AlsConfig) -> Factors:
    if config.preference == "explicit":
        return fold_in_explicit(fixed, *rows, regularization=config.regularization)
    return fold_in_implicit(
        fixed, gram(fixed), *rows, regularization=config.regularization, alpha=config.alpha
    )


def model_loss(sample: Sample, users: DataFrame, items: DataFrame, config: AlsConfig) -> float:
    """The `loss` of a whole model (`user_id` or `item_id`, `factors`) on a sample. Runs Spark jobs.

    The driver holds the factors of the sample's users and items, not those of all.
    """
    x, y = _of(sample.users, users, "user_id"), _of(sample.items, items, "item_id")
    shared = gram_of(items, config.rank) if config.preference == "implicit" else None
    return loss(x, y, sample, config, shared)


def gram_of(factors: DataFrame, rank: int) -> NDArray[np.float64]:
    """YᵀY (rank, rank) of factors in a DataFrame: summed by partition, then here."""

    def partial(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        total = np.zeros((rank, rank))
        for batch in batches:
            flat = batch.column(0).flatten().to_numpy(zero_copy_only=False)
            total += gram(flat.reshape(-1, rank))
        yield pa.RecordBatch.from_arrays([pa.array([total.ravel()])], ["gram"])

    parts = factors.select("factors").mapInArrow(partial, "gram array<double>").toArrow()["gram"]
    total = np.zeros((rank, rank))
    for part in parts:
        total += np.asarray(part.values.to_numpy()).reshape(rank, rank)
    return total


def _of(ids: list[str], factors: DataFrame, name: str) -> Factors:
    """Rows of `factors` in the order of `ids`."""
    wanted = factors.sparkSession.createDataFrame(
        pd.DataFrame({name: ids, "_row": range(len(ids))}), f"{name} string, _row long"
    )
    found = factors.join(F.broadcast(wanted), name).select("_row", "factors").toArrow()
    values = found["factors"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    ordered = np.empty((len(ids), len(values) // max(len(ids), 1)), dtype=np.float32)
    ordered[found["_row"].to_numpy()] = values.reshape(len(ids), -1)
    return ordered
