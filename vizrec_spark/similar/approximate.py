"""Approximate neighbours: exact scores, but only of pairs that share a bucket in some table.

What is shuffled is one copy of each vector per table, and k neighbours per item and table on the way back.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from vizrec_spark.kernels.topk import PAD_KEY
from vizrec_spark.similar.arrow import vectors_to_matrix
from vizrec_spark.similar.buckets import BUCKET, assign_buckets
from vizrec_spark.similar.centre import Centre
from vizrec_spark.similar.lists import (
    LISTS_SCHEMA,
    ArrowFunction,
    group_starts,
    lists_batch,
    merge_lists,
    whole_groups,
)
from vizrec_spark.similar.lsh import LshParams
from vizrec_spark.similar.scoring import Metric, Nearest, nearest_in_block, no_neighbors


def lsh_neighbors(
    vectors: DataFrame, params: LshParams, centre: Centre, *, k: int, metric: Metric = "cosine"
) -> DataFrame:
    """Up to k near items of each item of `vectors` (item_id string unique, vector array<float>).

    Returns item_id, rank (1 = nearest), neighbor_id, cosine, distance (`lists.NEIGHBORS_SCHEMA`) like
    `exact.exact_neighbors`, except that neighbours may be missing. An item that is alone in each of its
    buckets has no row. `centre` comes from `centre.collect_centre` of the same vectors.
    """
    assigned = assign_buckets(vectors.select("item_id", "vector"), params, centre)
    lists = (
        assigned.select(*BUCKET, "item_id", "vector")
        .repartition(*BUCKET)
        .sortWithinPartitions(*BUCKET, "item_id")
        .mapInArrow(_score_buckets(k, metric, params.bucket_cap), LISTS_SCHEMA)
    )
    return merge_lists(lists, k=k, metric=metric)


def _score_buckets(k: int, metric: Metric, cap: int) -> ArrowFunction:
    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in whole_groups(batches, BUCKET):
            nearest = no_neighbors(batch.num_rows, k)
            nearest = Nearest(nearest.keys, nearest.cosine.copy(), nearest.distance.copy())
            matrix = vectors_to_matrix(batch.column("vector"))
            starts = group_starts(batch, BUCKET)
            for start, end in zip(starts, [*starts[1:], batch.num_rows], strict=True):
                pieces = -(-(end - start) // cap)
                for piece in range(pieces):
                    _fill(nearest, matrix, np.arange(start + piece, end, pieces), metric)
            ids = batch.column("item_id")
            yield lists_batch(ids, ids, nearest)

    return score


def _fill(nearest: Nearest, matrix: np.ndarray, rows: np.ndarray, metric: Metric) -> None:
    """Writes the neighbours that `rows` have among themselves; their ids ascend, so ties are in id order."""
    if len(rows) < 2:
        return
    contiguous = rows[-1] - rows[0] == len(rows) - 1
    own = matrix[rows[0] : rows[-1] + 1] if contiguous else matrix[rows]
    found = nearest_in_block(own, own, nearest.keys.shape[1], metric, np.arange(len(rows)))
    there = found.keys != PAD_KEY
    nearest.keys[rows] = np.where(there, rows[np.maximum(found.keys, 0)], PAD_KEY)
    nearest.cosine[rows] = found.cosine
    nearest.distance[rows] = found.distance
