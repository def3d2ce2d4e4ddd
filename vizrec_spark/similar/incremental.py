"""Brings lists up to date with new, changed and gone items, without searching for all the others again.

The items of before are compared, exactly, with the new and changed ones alone, and what reaches the end of a list is
merged into it. A list that loses entries stays as long as it gains as many, for all that is not new lies beyond its old
end. Asked anew are the new and changed items, and those whose lists lose more than they gain, since what comes after
their end is not known. Everything else keeps its rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.kernels.inverted import InvertedLists
from vizrec_spark.kernels.selection import PAD_KEY
from vizrec_spark.similar.generators import Flat
from vizrec_spark.similar.index import CHUNK, WHOLE_BLOCK
from vizrec_spark.similar.index_file import Arrays, load_arrays, save_arrays
from vizrec_spark.similar.lists import NEIGHBORS_SCHEMA, neighbors_batch
from vizrec_spark.similar.reduction import Reduction
from vizrec_spark.similar.scoring import Metric
from vizrec_spark.similar.search import Searcher, WholePoints
from vizrec_spark.similar.shared import SharedFolder, evenly, over_rows, part_of, run_of


@dataclass(frozen=True)
class Changes:
    """What has happened to the lists of before, item by item.

    fresh: numbers of new or changed items; others: those of all the rest (both ascending). Of each of the others: bar
    (float32), the score of its list's last entry, which a fresh item has to reach, -inf where the list is shorter than
    k and so had all there was; lost: how many entries it is short of k without those that are gone or changed. stale:
    ids of gone, changed and new items. whole: whether lists had as many entries as they should; None where that is not
    known.
    """

    fresh: NDArray[np.int64]
    others: NDArray[np.int64]
    bar: NDArray[np.float32]
    lost: NDArray[np.int64]
    stale: pa.Array
    whole: bool | None


def changes(
    ids: pa.Array,
    before: DataFrame,
    now: DataFrame,
    neighbors: DataFrame,
    n_before: int,
    config: SimilarConfig,
) -> Changes:
    """Runs two jobs: what the differing `content` of items (item_id, content) means for their lists.

    The driver holds the ids that differ, and some 60 bytes for each item of before.
    """
    old = before.select("item_id", F.col("content").alias("was"))
    differ = (
        now.join(old, "item_id", "full").where("NOT (content <=> was)").select("item_id", "content", "was")
    )
    rows = differ.toArrow()
    left = rows.filter(pc.is_valid(rows.column("was"))).column("item_id")
    fresh = np.unique(_numbers(rows.filter(pc.is_valid(rows.column("content"))).column("item_id"), ids))
    stale = neighbors.sparkSession.createDataFrame(
        pa.table({"neighbor_id": left.cast(pa.string())}), "neighbor_id string"
    )
    marked = neighbors.join(
        F.broadcast(stale.withColumn("stale", F.lit(1))), "neighbor_id", "left"
    ).withColumn("score", rank_column(config.metric))
    ends = marked.groupBy("item_id").agg(
        F.min("score").cast("float").alias("bar"),
        F.count(F.lit(1)).alias("held"),
        F.count("stale").alias("lost"),
    )
    table = ends.toArrow().combine_chunks()
    number = pc.fill_null(pc.index_in(table.column("item_id").cast(pa.string()), value_set=ids), -1)
    number = number.to_numpy().astype(np.int64)
    held, lost = (table.column(name).to_numpy() for name in ("held", "lost"))
    full = (number >= 0) & (held >= config.k)
    bar, short = np.full(len(ids), -np.inf, dtype=np.float32), np.zeros(len(ids), dtype=np.int64)
    bar[number[full]], short[number[full]] = table.column("bar").to_numpy()[full], lost[full]
    others = np.setdiff1d(np.arange(len(ids)), fresh)
    whole = None
    if config.filters.min_cosine is None:  # otherwise it is not known how long a list should be
        whole = int(held.sum()) == n_before * min(config.k, n_before - 1)
    gone = pa.concat_arrays([left.cast(pa.string()).combine_chunks(), ids.take(pa.array(fresh))])
    return Changes(fresh, others, bar[others], short[others], gone, whole)


def asked_anew(changed: Changes, gained: DataFrame, ids: pa.Array) -> NDArray[np.int64]:
    """Runs a job: the numbers of the items to search for, ascending.

    Those are the fresh ones, and the others that have lost more of their k than they `gained`: what comes after a
    list's last entry is not known.
    """
    losing = changed.lost > 0
    if losing.any():
        names = pa.table({"item_id": ids.take(pa.array(changed.others[losing]))})
        asked = gained.sparkSession.createDataFrame(names, "item_id string")
        counted = gained.join(F.broadcast(asked), "item_id").groupBy("item_id").count().toArrow()
        got = np.zeros(len(ids), dtype=np.int64)
        got[_numbers(counted.column("item_id"), ids)] = counted.column("count").to_numpy()
        losing &= changed.lost > got[changed.others]
    return np.union1d(changed.fresh, changed.others[losing])


def rank_column(metric: Metric) -> Column:
    """What ranks a list's entries, higher is better, from columns cosine and distance."""
    return F.col("cosine") if metric == "cosine" else -F.col("distance")


def gains(
    spark: SparkSession,
    shared: SharedFolder,
    metric: Metric,
    changed: Changes,
    *,
    k: int,
    parts: int,
) -> DataFrame:
    """Of the k nearest fresh items of each of the others those that reach its bar (`lists.NEIGHBORS_SCHEMA`; ranks are
    those among the fresh), by exact comparison."""
    arrays: Arrays = {"fresh": changed.fresh, "others": changed.others, "bar": changed.bar}
    facts = save_arrays(Path(shared.path), arrays, {})

    def search(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        numbers, _ = load_arrays(facts)
        fresh, others, bar = numbers["fresh"], numbers["others"], numbers["bar"]
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
        share = np.arange(len(others))[run_of(len(others), part_of(batches), parts)]
        for places in evenly(share, CHUNK):
            if len(places) and len(fresh):
                rows = others[places]
                nearest = searcher.nearest(vectors[rows], k, rows)
                reached = nearest.score(metric) >= bar[places, None]
                nearest = replace(nearest, keys=np.where(reached, nearest.keys, PAD_KEY))
                yield neighbors_batch(ids.take(pa.array(rows)), ids, nearest)

    return over_rows(spark, parts, search, NEIGHBORS_SCHEMA)


def merged(
    before: DataFrame,
    asked: DataFrame,
    gained: DataFrame,
    stale: DataFrame,
    kept_ids: DataFrame,
    *,
    k: int,
    metric: Metric,
) -> DataFrame:
    """All lists: `asked` as searched; those `before` of `kept_ids` (item_id) with what they `gained`.

    Lists as `lists.NEIGHBORS_SCHEMA`. `stale` (item_id): what a list of before says of these items does not count.
    """
    score = rank_column(metric)
    known = before.join(kept_ids, "item_id", "left_semi")
    gone = F.broadcast(stale.select(F.col("item_id").alias("neighbor_id")))
    shortened = known.join(gone, "neighbor_id", "left_semi").select("item_id")
    kept = known.join(gone, "neighbor_id", "left_anti").select(*NEIGHBORS_SCHEMA.names)
    better = gained.join(kept_ids, "item_id", "left_semi").select(*NEIGHBORS_SCHEMA.names)
    touched = better.select("item_id").unionByName(shortened).distinct()
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
