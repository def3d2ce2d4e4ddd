"""Brings lists up to date with new, changed and gone items, without searching for all the others again.

Asked anew are the new and changed items, and those that lose a neighbour, since what comes after their last one is
not known. All others can only gain: each is compared, exactly, with the new and changed items alone, and what beats
the end of its list is merged in. Everything else keeps its rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from vizrec_spark.kernels.inverted import InvertedLists
from vizrec_spark.similar.generators import Flat
from vizrec_spark.similar.index import CHUNK, WHOLE_BLOCK
from vizrec_spark.similar.index_file import load_arrays, save_arrays
from vizrec_spark.similar.lists import NEIGHBORS_SCHEMA, neighbors_batch
from vizrec_spark.similar.reduction import Reduction
from vizrec_spark.similar.scoring import Metric
from vizrec_spark.similar.search import Searcher, WholePoints
from vizrec_spark.similar.shared import SharedFolder, evenly, over_rows, part_of, run_of


@dataclass(frozen=True)
class Changes:
    """Item numbers, ascending, of new or changed items, of items to ask for anew (those included), and the rest."""

    fresh: NDArray[np.int64]
    asked: NDArray[np.int64]
    kept: NDArray[np.int64]


def changes(ids: pa.Array, before: DataFrame, now: DataFrame, neighbors: DataFrame) -> Changes:
    """Runs two jobs: what the differing `content` of items (item_id, content) means for their lists.

    The driver holds the ids that differ, and those whose lists held one of them.
    """
    old = before.select("item_id", F.col("content").alias("was"))
    differ = (
        now.join(old, "item_id", "full").where("NOT (content <=> was)").select("item_id", "content", "was")
    )
    rows = differ.toArrow()
    left = rows.filter(pc.is_valid(rows.column("was"))).column("item_id")
    fresh_ids = rows.filter(pc.is_valid(rows.column("content"))).column("item_id")
    stale = neighbors.sparkSession.createDataFrame(
        pa.table({"neighbor_id": left.cast(pa.string())}), "neighbor_id string"
    )
    losers = neighbors.join(F.broadcast(stale), "neighbor_id", "left_semi").select("item_id").distinct()
    losing = losers.toArrow().column("item_id")
    fresh = np.unique(_numbers(fresh_ids, ids))
    asked = np.union1d(fresh, _numbers(losing, ids))
    return Changes(fresh, asked, np.setdiff1d(np.arange(len(ids)), asked))


def gains(
    spark: SparkSession,
    shared: SharedFolder,
    metric: Metric,
    changed: Changes,
    *,
    k: int,
    parts: int,
) -> DataFrame:
    """The k nearest among the fresh items for each kept one (`lists.NEIGHBORS_SCHEMA`), by exact comparison."""
    facts = save_arrays(Path(shared.path), {"fresh": changed.fresh, "kept": changed.kept}, {})

    def search(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        numbers, _ = load_arrays(facts)
        fresh, kept = numbers["fresh"], numbers["kept"]
        ids, vectors = shared.ids(), shared.vectors()
        flat = Flat(len(fresh), block=WHOLE_BLOCK)
        starts = np.minimum(np.arange(flat.cells + 1) * flat.block, len(fresh)).astype(np.int64)
        reduction = Reduction(metric, None, np.zeros(shared.dimension, dtype=np.float32))
        searcher = Searcher(
            reduction,
            flat,
            InvertedLists(starts, fresh.astype(np.int32)),
            WholePoints(vectors, reduction),
            vectors,
            shared.squares(),
            k,
        )
        share = kept[run_of(len(kept), part_of(batches), parts)]
        for rows in evenly(share, CHUNK):
            if len(rows) and len(fresh):
                nearest = searcher.nearest(vectors[rows], k, rows)
                yield neighbors_batch(ids.take(pa.array(rows)), ids, nearest)

    return over_rows(spark, parts, search, NEIGHBORS_SCHEMA)


def merged(
    before: DataFrame,
    asked: DataFrame,
    gained: DataFrame,
    fresh_ids: DataFrame,
    kept_ids: DataFrame,
    *,
    k: int,
    metric: Metric,
) -> DataFrame:
    """All lists: `asked` as searched; those `before` of `kept_ids` (item_id) with what they `gained`.

    Lists as `lists.NEIGHBORS_SCHEMA`. `fresh_ids` (item_id): no list of before counts what it says of these, so that
    a run that died after publishing can be repeated.
    """
    score = F.col("cosine") if metric == "cosine" else -F.col("distance")
    stale = fresh_ids.select(F.col("item_id").alias("neighbor_id"))
    kept = before.join(kept_ids, "item_id", "left_semi").join(F.broadcast(stale), "neighbor_id", "left_anti")
    kept = kept.select(*NEIGHBORS_SCHEMA.names)
    ends = kept.groupBy("item_id").agg(F.min(score).alias("bar"), F.count(F.lit(1)).alias("held"))
    better = (
        gained.join(ends, "item_id", "left")
        .where((F.coalesce("held", F.lit(0)) < k) | (score >= F.col("bar")))
        .select(*NEIGHBORS_SCHEMA.names)
    )
    touched = better.select("item_id").distinct()
    window = Window.partitionBy("item_id").orderBy(score.desc(), "neighbor_id")
    renewed = (
        kept.join(touched, "item_id", "left_semi")
        .unionByName(better)
        .withColumn("rank", F.row_number().over(window))
        .where(F.col("rank") <= k)
    )
    untouched = kept.join(touched, "item_id", "left_anti")
    return untouched.unionByName(renewed).unionByName(asked)


def _numbers(names: pa.ChunkedArray, ids: pa.Array) -> NDArray[np.int64]:
    found = pc.index_in(names.cast(pa.string()), value_set=ids).drop_null()
    return found.to_numpy().astype(np.int64)
