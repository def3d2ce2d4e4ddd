"""Factors for users who came after the training, or came back, from their whole history."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import AlsConfig
from vizrec_spark.kernels.fold_in import fold_in_explicit, fold_in_implicit, gram
from vizrec_spark.retrieval.shared import Candidates, SharedFactors, candidates


def fold_in(
    preferences: DataFrame,
    shared: SharedFactors,
    config: AlsConfig,
    *,
    names: tuple[str, str] = ("user_id", "item_id"),
) -> DataFrame:
    """`<names[0]>`, `factors` (array<float>) of each row of a model whose other side is fixed.

    preferences: `names[0]`, `names[1]` and `preference` (see `retrieval.preferences`), one row a pair and all pairs of
    an id; pairs with ids that are not `shared` are ignored, and ids with no positive preference left have no row.
    shared: the item factors (or, with `names` the other way round, the users'). `config` is the one that the model
    was trained with; the factors are those that MLlib would solve for the same rows, within 1e-4.
    """
    one = names[0]
    history = preference_lists(preferences, names)

    def solve(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield _solved(batch, shared, config, one)

    return history.mapInArrow(solve, f"`{one}` string, factors array<float>")


def preference_lists(preferences: DataFrame, names: tuple[str, str] = ("user_id", "item_id")) -> DataFrame:
    """`<names[0]>`, `history`: all preferences of an id as one array of structs (`id` string, `preference` float)."""
    one, other = names
    # Sorted, so that the sums, and with them the last bits, are the same in every run.
    pairs = F.array_sort(
        F.collect_list(F.struct(F.col(other).alias("id"), F.col("preference").cast("float")))
    )
    return preferences.groupBy(one).agg(pairs.alias("history"))


def solve(
    lists: pa.ListArray, fixed: Candidates, fixed_gram: NDArray[np.float64], config: AlsConfig
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Factors (n, rank) float32 of n rows of `preference_lists`, and which rows (n,) have any.

    `fixed`: the other side of the model, `fixed_gram` its YᵀY (`kernels.fold_in.gram`).
    """
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    entries = lists.flatten()
    position = fixed.positions(entries.field(0))
    known = position >= 0
    at = position[known]
    preference = entries.field(1).to_numpy(zero_copy_only=False)[known]
    row = np.repeat(np.arange(len(lists)), lengths)[known]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(lists)))])
    if config.preference == "explicit":
        solved = fold_in_explicit(fixed.factors, indptr, at, preference, regularization=config.regularization)
        return solved, np.diff(indptr) > 0
    solved = fold_in_implicit(
        fixed.factors,
        fixed_gram,
        indptr,
        at,
        preference,
        regularization=config.regularization,
        alpha=config.alpha,
    )
    return solved, np.bincount(row[preference > 0], minlength=len(lists)) > 0


def _solved(batch: pa.RecordBatch, shared: SharedFactors, config: AlsConfig, name: str) -> pa.RecordBatch:
    solved, has = solve(batch.column("history"), candidates(shared.file), _gram(shared.file), config)
    kept = solved[has]
    ends = np.arange(len(kept) + 1, dtype=np.int32) * np.int32(kept.shape[1])
    factors = pa.ListArray.from_arrays(pa.array(ends), pa.array(kept.ravel()))
    return pa.RecordBatch.from_arrays([batch.column(0).filter(pa.array(has)), factors], [name, "factors"])


@lru_cache(maxsize=4)
def _gram(file: str) -> NDArray[np.float64]:
    """YᵀY of the shared factors, once a process."""
    return gram(candidates(file).factors)
