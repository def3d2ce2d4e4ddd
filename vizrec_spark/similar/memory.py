"""Runs the shared plan: vectors into the folder, the index fitted, and all items asked for, or only what changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.kernels.selection import PAD_KEY
from vizrec_spark.similar.ask import neighbors_of_all
from vizrec_spark.similar.categories import categories_of, judged_by_category, nearest_by_category
from vizrec_spark.similar.filters import admission_of
from vizrec_spark.similar.fit import Fitted, Judged, fitted, judged_exactly, recalls_of_numbers
from vizrec_spark.similar.found import Found
from vizrec_spark.similar.incremental import asked_anew, changes, gains, merged
from vizrec_spark.similar.index_file import save_index
from vizrec_spark.similar.quality import UNMEASURED, Recall, lists_of_rows, recall_interval
from vizrec_spark.similar.shared import SharedFolder, share_vectors
from vizrec_spark.similar.tuning import exact_work
from vizrec_spark.stage import log

_TASKS_PER_CORE = 3


@dataclass(frozen=True)
class Published:
    """What is published: neighbors (`lists.NEIGHBORS_SCHEMA`) by which method and of how many items; before and now:
    item_id and content, then and today; recall and mean_cosine as they were measured."""

    neighbors: DataFrame
    method: str
    n_items: int
    before: DataFrame
    now: DataFrame
    recall: float
    mean_cosine: float


@contextmanager
def shared_search(
    vectors: DataFrame,
    dimension: int,
    items: DataFrame,
    folder: Path,
    config: SimilarConfig,
    published: Published | None,
) -> Iterator[Found | None]:
    """The look-alikes of all `vectors` (item_id, vector of `dimension` components), or None where there are none.

    `items`: columns of table items, for filters and categories. With `published`, only what changed since is searched
    for, if that is at most `config.incremental_below` of the items, the method is the one of before, and what comes out
    has the recall that is asked for. What is handed out lives until the exit, in `folder` or persisted.

    Memory of a worker, beside the pages of the shared files: `footprint.search_bytes` of 4,096 queries and
    `footprint.index_bytes`.
    """
    spark = vectors.sparkSession
    shared, centre = share_vectors(vectors, folder, dimension)
    if shared.n_items == 0:
        yield None
        return
    parts = _TASKS_PER_CORE * spark.sparkContext.defaultParallelism
    admission = admission_of(shared.ids(), items, config.filters)
    index = fitted(spark, shared, config, admission, parts)
    path = save_index(index.index)
    updated = None if published is None else _updated(spark, path, published, shared, index, parts, config)
    searched = shared.n_items
    if updated is not None:
        neighbors, recall, searched = updated
    else:
        neighbors = neighbors_of_all(spark, path, k=config.k, parts=parts, admission=admission)
        recall = index.recall
    by_category = within = None
    if config.per_category:
        categories = categories_of(shared.ids(), items)
        way, within = judged_by_category(index, shared, categories, admission, config)
        by_category = nearest_by_category(
            spark, save_index(way.index), categories, way.everyone,
            k=config.per_category, parts=parts, admission=admission,
        )  # fmt: skip
    built = index.index
    try:
        yield Found(
            *(neighbors, "shared", index.method, index.told, recall, index.candidates, built.rerank),
            *(built.occupancy, built.lists.sizes, centre, searched, by_category, within),
        )
    finally:
        neighbors.unpersist()


def _updated(
    spark: SparkSession,
    path: str,
    published: Published,
    shared: SharedFolder,
    index: Fitted,
    parts: int,
    config: SimilarConfig,
) -> tuple[DataFrame, Recall, int] | None:
    """The lists brought up to date (persisted), their recall, and how many were asked for; None for a full search."""
    if shared.n_items < 2:
        return None
    if index.method != published.method:
        # An exact run takes its recall for granted, which lists of another method do not bear out.
        log.info("similar: lists by %s are made anew by %s", published.method, index.method)
        return None
    changed = changes(
        *(shared.ids(), published.before, published.now, published.neighbors, published.n_items), config
    )
    if changed.whole is False and index.method == "exact":
        log.info("similar: rows of the published lists are missing, so all are made anew")
        return None
    comparing = exact_work(len(changed.fresh), shared.dimension)
    if len(changed.fresh) > config.incremental_below * shared.n_items or comparing > index.work:
        log.info("similar: %d items are new or changed, so all lists are made anew", len(changed.fresh))
        return None
    with ExitStack() as kept:
        gained = gains(spark, shared, config.metric, changed, k=config.k, parts=parts)
        gained = gained.persist(StorageLevel.DISK_ONLY)
        kept.callback(gained.unpersist)
        anew = asked_anew(changed, gained, shared.ids())
        share = len(anew) / shared.n_items
        log.info("similar: %.1f %% of the items are new, changed or lack look-alikes", 100 * share)
        if share > config.incremental_below:
            return None
        asked = neighbors_of_all(spark, path, k=config.k, parts=parts, asked=anew)
        stale = spark.createDataFrame(pa.table({"item_id": changed.stale}), "item_id string")
        others = _frame(spark, shared, np.setdiff1d(changed.others, anew))
        merging = merged(published.neighbors, asked, gained, stale, others, k=config.k, metric=config.metric)
        neighbors = merging.persist(StorageLevel.DISK_ONLY)
        with ExitStack() as failing:
            failing.callback(neighbors.unpersist)
            neighbors.count()  # all of it, while what it is made of is there
            judged = index.judged or judged_exactly(shared, config)
            recall = _recall_of(neighbors, shared, judged, config)
            if recall.mean >= config.target_recall:
                failing.pop_all()
                return neighbors, recall, len(anew)
    log.info("similar: merged lists have recall %.3f, so all are searched for", recall.mean)
    return None


def _frame(spark: SparkSession, shared: SharedFolder, numbers: NDArray[np.int64]) -> DataFrame:
    return spark.createDataFrame(
        pa.table({"item_id": shared.ids().take(pa.array(numbers))}), "item_id string"
    )


def _recall_of(neighbors: DataFrame, shared: SharedFolder, judged: Judged, config: SimilarConfig) -> Recall:
    names = shared.ids().take(pa.array(judged.rows))
    rows = neighbors.join(F.broadcast(_frame(neighbors.sparkSession, shared, judged.rows)), "item_id")
    listed = rows.select("item_id", "neighbor_id", F.xxhash64("neighbor_id").alias("hash")).toArrow()
    listed = listed.combine_chunks()
    query = pc.index_in(listed.column("item_id").cast(pa.string()), value_set=names).to_numpy()
    near = listed.column("neighbor_id").cast(pa.string()).combine_chunks()
    keys = shared.numbering().of(near, listed.column("hash").to_numpy())
    true, weakest = judged.true, config.filters.min_cosine
    if weakest is not None:  # published lists are cut there, so the true ones are
        true = replace(true, keys=np.where(true.cosine >= weakest, true.keys, PAD_KEY))
    lists = lists_of_rows(query.astype(np.int64), keys, len(names))
    found = recalls_of_numbers(lists, shared, replace(judged, true=true), config.metric)
    return recall_interval(found.tolist(), seed=config.seed) if len(found) else UNMEASURED
