"""Every metric of every user and model in one pass: a row is a user, a task works on blocks of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.evaluate.block import Values, make_block
from vizrec_spark.evaluate.facts import CLASSES, ItemFacts
from vizrec_spark.evaluate.history import History
from vizrec_spark.evaluate.metrics import values_of
from vizrec_spark.evaluate.ragged import Ragged

ALL, LIGHT, HEAVY, NEW = "all", "light_users", "heavy_users", "new_users"
ITEM_SLICES = ("warm_items", *(f"{name}_items" for name in CLASSES))

_SCHEMA = "user_id string, slice string, n_known int, values array<double>"
_BYTES = 64_000_000  # that the arrays of a task's block take at a time


class _Job(NamedTuple):
    facts: Broadcast[ItemFacts]
    models: int
    cutoffs: tuple[int, ...]


def user_values(
    judged: DataFrame, facts: Broadcast[ItemFacts], models: int, cutoffs: Sequence[int]
) -> DataFrame:
    """`user_id`, `slice`, `n_known` (items that the user knew), `values` (array<double> of `models` × metrics).

    judged: see `judged_users`; metrics in the order of `metric_names`, NaN where one says nothing of a user. Slices:
    ``all``; the items to find by popularity (`ITEM_SLICES`: warm ones were met by somebody in the training window,
    and are head, middle or tail; cold ones were not), a user standing only in those where there is something to find.
    """
    job = _Job(facts, models, tuple(cutoffs))
    return judged.select("user_id", "relevant", "known", "lists").mapInArrow(partial(_values, job), _SCHEMA)


def with_user_slices(values: DataFrame) -> DataFrame:
    """`values` and, of slice ``all``, each row once more under the kind of its user.

    Users who knew nothing are ``new_users``; of the others the half with the fewest known items (up to the median)
    are ``light_users``, the rest ``heavy_users``. Columns: `user_id`, `slice`, `values`.
    """
    every = values.where(F.col("slice") == ALL)
    middle = every.where("n_known > 0").agg(F.percentile("n_known", 0.5).alias("_middle"))
    kind = (
        F.when(F.col("n_known") == 0, NEW).when(F.col("n_known") <= F.col("_middle"), LIGHT).otherwise(HEAVY)
    )
    of_users = every.crossJoin(F.broadcast(middle)).select("user_id", kind.alias("slice"), "values")
    return values.select("user_id", "slice", "values").unionByName(of_users)


def _values(job: _Job, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    facts = job.facts.value
    for batch in batches:
        step = users_at_a_time(_longest(batch.column("lists")), job.models, facts)
        for first in range(0, batch.num_rows, step):
            yield from _chunk(job, facts, batch.slice(first, step))


def users_at_a_time(longest: int, models: int, facts: ItemFacts) -> int:
    """How many users make a block of about 64 MB, with lists of at most `longest` items.

    A place takes 27 bytes in the block of each model; metrics take some 80 bytes a place, or 16 a number of the looks.
    """
    width = 0 if facts.looks is None else facts.looks.shape[1]
    return max(1, _BYTES // max(longest * (27 * models + 80) + 16 * width, 1))


def _chunk(job: _Job, facts: ItemFacts, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    users, n = batch.column("user_id"), batch.num_rows
    relevant, known = (_ragged(batch.column(name), facts) for name in ("relevant", "known"))
    nested = batch.column("lists")
    lists = _ragged(nested.flatten(), facts)
    history = History.of(facts, known)
    blocks = [
        make_block(facts, _every(lists, model, job.models), relevant, history) for model in range(job.models)
    ]
    n_known = np.diff(known.start).astype(np.int32)
    yield _rows(users, ALL, n_known, np.stack([values_of(b, job.cutoffs) for b in blocks], axis=1))
    klass = facts.klass[relevant.item]
    cold = CLASSES.index("cold")
    for name, inside in (
        ("warm_items", klass != cold),
        *((f"{c}_items", klass == i) for i, c in enumerate(CLASSES)),
    ):
        here = np.bincount(relevant.owner[inside], minlength=n) > 0
        if not here.any():
            continue
        found = [
            values_of(b.among(items_of(facts, name), inside, relevant), job.cutoffs, ranking_only=True)
            for b in blocks
        ]
        yield _rows(users.filter(pa.array(here)), name, n_known[here], np.stack(found, axis=1)[here])


def items_of(facts: ItemFacts, name: str) -> Values:
    """Which items belong to an item slice, (items,) bool."""
    cold = facts.klass == CLASSES.index("cold")
    return ~cold if name == "warm_items" else facts.klass == CLASSES.index(name.removesuffix("_items"))


def _ragged(lists: pa.Array, facts: ItemFacts) -> Ragged:
    start = np.zeros(len(lists) + 1, dtype=np.int64)
    np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=False), out=start[1:])
    return Ragged(start, facts.positions(lists.flatten()))


def _every(lists: Ragged, first: int, step: int) -> Ragged:
    """Of the rows of `lists`, each `step`-th from `first` on."""
    length = np.diff(lists.start)
    mine = np.arange(len(length)) % step == first
    start = np.zeros(int(mine.sum()) + 1, dtype=np.int64)
    np.cumsum(length[mine], out=start[1:])
    return Ragged(start, lists.item[np.repeat(mine, length)])


def _longest(nested: pa.Array) -> int:
    lengths = nested.flatten().value_lengths()
    return int(lengths.to_numpy(zero_copy_only=False).max(initial=0))


def _rows(users: pa.Array, name: str, n_known: Values, values: Values) -> pa.RecordBatch:
    """values: (users, models, metrics)."""
    flat = values.reshape(len(values), -1)
    offsets = pa.array(np.arange(len(flat) + 1) * flat.shape[1], pa.int32())
    return pa.RecordBatch.from_arrays(
        [
            users,
            pa.array([name] * len(flat), pa.string()),
            pa.array(n_known, pa.int32()),
            pa.ListArray.from_arrays(offsets, pa.array(flat.ravel(), pa.float64())),
        ],
        names=["user_id", "slice", "n_known", "values"],
    )
