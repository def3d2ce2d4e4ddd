"""Partial neighbour lists, one row per item and part of the work, and their merge into the final ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, FloatType, IntegerType, StringType, StructField, StructType

from vizrec_spark.kernels.topk import PAD_KEY, distinct_topk
from vizrec_spark.similar.arrow import list_array
from vizrec_spark.similar.scoring import Metric, Nearest, rank_score

ArrowFunction = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]

Number = TypeVar("Number", np.float32, np.int64)

LISTS_SCHEMA = StructType(
    [
        StructField("item_id", StringType(), False),
        StructField("neighbor_ids", ArrayType(StringType()), False),
        StructField("cosine", ArrayType(FloatType()), False),
        StructField("distance", ArrayType(FloatType()), False),
    ]
)
"""Up to k neighbours of an item; an item may have several such rows and a neighbour may stand in each."""

NEIGHBORS_SCHEMA = StructType(
    [
        StructField("item_id", StringType(), False),
        StructField("rank", IntegerType(), False),
        StructField("neighbor_id", StringType(), False),
        StructField("cosine", FloatType(), False),
        StructField("distance", FloatType(), False),
    ]
)
"""rank: 1 is the nearest; cosine: of the raw vectors, -1 to 1; distance: Euclidean, of the raw vectors."""


def lists_batch(item_ids: pa.Array, candidate_ids: pa.Array, nearest: Nearest) -> pa.RecordBatch:
    """One row (`LISTS_SCHEMA`) per item; `nearest.keys` are positions in `candidate_ids`."""
    there = nearest.keys != PAD_KEY
    lengths = np.count_nonzero(there, axis=1)
    return pa.RecordBatch.from_arrays(
        [
            item_ids,
            list_array(candidate_ids.take(pa.array(nearest.keys[there])), lengths),
            list_array(pa.array(nearest.cosine[there]), lengths),
            list_array(pa.array(nearest.distance[there]), lengths),
        ],
        names=LISTS_SCHEMA.names,
    )


def neighbors_batch(item_ids: pa.Array, candidate_ids: pa.Array, nearest: Nearest) -> pa.RecordBatch:
    """One row (`NEIGHBORS_SCHEMA`) per neighbour; `nearest.keys` are positions in `candidate_ids`."""
    there = nearest.keys != PAD_KEY
    rows, places = np.nonzero(there)
    return pa.RecordBatch.from_arrays(
        [
            item_ids.take(pa.array(rows)),
            pa.array((places + 1).astype(np.int32)),
            candidate_ids.take(pa.array(nearest.keys[there])),
            pa.array(nearest.cosine[there]),
            pa.array(nearest.distance[there]),
        ],
        names=NEIGHBORS_SCHEMA.names,
    )


def merge_lists(lists: DataFrame, *, k: int, metric: Metric, rerank: int | None = None) -> DataFrame:
    """The k nearest of each item (`NEIGHBORS_SCHEMA`) from its partial lists; ties by neighbor_id.

    With `rerank`, of the so many best by the lists' further column `reduced` (array<float>) only.
    """

    def merge(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for whole in whole_groups(batches, ["item_id"]):
            yield _merge_items(whole, k, metric, rerank)

    return lists.repartition("item_id").sortWithinPartitions("item_id").mapInArrow(merge, NEIGHBORS_SCHEMA)


def whole_groups(batches: Iterator[pa.RecordBatch], keys: list[str]) -> Iterator[pa.RecordBatch]:
    """Cuts a stream that is sorted by `keys` anew, so that no group of equal keys is cut in two.

    The rows of a group that reaches the end of a batch wait for the next one.
    """
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        if batch.num_rows == 0:
            continue
        start = int(group_starts(batch, keys)[-1])
        if start == 0 and (not waiting or _same_group(waiting[-1], batch, keys)):
            waiting.append(batch)
            continue
        yield _joined([*waiting, batch.slice(0, start)])
        waiting = [batch.slice(start)]
    if waiting:
        yield _joined(waiting)


def group_starts(batch: pa.RecordBatch, keys: list[str]) -> NDArray[np.int64]:
    """The rows at which a new group of equal `keys` begins (the first row is one)."""
    changed = np.zeros(batch.num_rows, dtype=bool)
    changed[0] = True
    for key in keys:
        column = batch.column(key)
        changed[1:] |= pc.not_equal(column.slice(1), column.slice(0, len(column) - 1)).to_numpy(
            zero_copy_only=False
        )
    return np.flatnonzero(changed)


def _same_group(left: pa.RecordBatch, right: pa.RecordBatch, keys: list[str]) -> bool:
    return all(left.column(key)[-1] == right.column(key)[0] for key in keys)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    kept = [batch for batch in batches if batch.num_rows]
    return kept[0] if len(kept) == 1 else pa.concat_batches(kept)


def _merge_items(lists: pa.RecordBatch, k: int, metric: Metric, rerank: int | None) -> pa.RecordBatch:
    starts = group_starts(lists, ["item_id"])
    neighbors = lists.column("neighbor_ids")
    offsets = neighbors.offsets.to_numpy()
    entry_starts = offsets[starts] - offsets[0]
    lengths = np.diff(np.append(entry_starts, offsets[-1] - offsets[0]))
    ids, codes = _ordered_codes(neighbors.flatten())
    cells = np.arange(max(int(lengths.max()), 1)) < lengths[:, None]

    def dense(values: NDArray[Number], fill: int) -> NDArray[Number]:
        table = np.full(cells.shape, fill, dtype=values.dtype)
        table[cells] = values
        return table

    cosine = dense(lists.column("cosine").flatten().to_numpy(), 0)
    distance = dense(lists.column("distance").flatten().to_numpy(), 0)
    keys = dense(codes, PAD_KEY)
    score = rank_score(cosine, distance, metric, ~cells)
    if rerank is not None:
        reduced = dense(lists.column("reduced").flatten().to_numpy(), 0)
        _, _, chosen = distinct_topk(np.where(cells, reduced, np.float32(-np.inf)), keys, rerank)
        kept = np.zeros((len(cells), cells.shape[1] + 1), dtype=bool)
        np.put_along_axis(kept, chosen, True, axis=1)  # padding marks the column that is cut off
        score = np.where(kept[:, :-1], score, np.float32(-np.inf))
    _, best, columns = distinct_topk(score, keys, k)
    there = best != PAD_KEY
    rows, places = np.nonzero(there)
    at = columns[there]
    return pa.RecordBatch.from_arrays(
        [
            lists.column("item_id").take(pa.array(starts[rows])),
            pa.array((places + 1).astype(np.int32)),
            ids.take(pa.array(best[there])),
            pa.array(cosine[rows, at]),
            pa.array(distance[rows, at]),
        ],
        names=NEIGHBORS_SCHEMA.names,
    )


def _ordered_codes(ids: pa.Array) -> tuple[pa.Array, NDArray[np.int64]]:
    """The distinct ids ascending (as bytes of UTF-8, Spark's order), and each id's place among them."""
    encoded = ids.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary)
    place = np.empty(len(order), dtype=np.int64)
    place[order.to_numpy()] = np.arange(len(order))
    return encoded.dictionary.take(order), place[encoded.indices.to_numpy(zero_copy_only=False)]
