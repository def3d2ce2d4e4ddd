"""Runs the shared plan: vectors into the folder, the index fitted, and all items asked for, or only what changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.similar.filters import admission_of
from vizrec_spark.similar.fit import Judged, fitted
from vizrec_spark.similar.found import Found
from vizrec_spark.similar.incremental import Changes, changes, gains, merged
from vizrec_spark.similar.index import neighbors_of_all
from vizrec_spark.similar.quality import Recall, recall_interval, recalls_of_rows
from vizrec_spark.similar.shared import SharedFolder, share_vectors
from vizrec_spark.stage import log

_TASKS_PER_CORE = 3


@dataclass(frozen=True)
class Published:
    """What is published: neighbors (`lists.NEIGHBORS_SCHEMA`), before and now: item_id and content, then and today."""

    neighbors: DataFrame
    before: DataFrame
    now: DataFrame


def shared_search(
    vectors: DataFrame,
    dimension: int,
    items: DataFrame,
    folder: Path,
    config: SimilarConfig,
    published: Published | None,
) -> Found | None:
    """The look-alikes of all `vectors` (item_id, vector of `dimension` components), or None where there are none.

    `items`: columns of table items, for the filters. With `published`, only what changed since is searched for, if
    that is at most `config.incremental_below` of the items. What is returned lives as long as `folder`.

    Memory of a worker, beside the pages of the shared files: 4,096 queries · (4 d + 8 width + 40 rerank) bytes, its
    lists of 4 to 4 · tables bytes an item, and a score block of 4,096 by the largest cell.
    """
    spark = vectors.sparkSession
    shared, centre = share_vectors(vectors, folder, dimension)
    if shared.n_items == 0:
        return None
    parts = _TASKS_PER_CORE * spark.sparkContext.defaultParallelism
    admission = admission_of(shared.ids(), items, config.filters)
    index = fitted(spark, shared, config, admission, parts)
    path = index.index.save()
    changed = None if published is None else _few_changes(published, shared, config)
    asked = None if changed is None else changed.asked
    neighbors = neighbors_of_all(spark, path, k=config.k, parts=parts, admission=admission, asked=asked)
    deep = neighbors_of_all(spark, path, k=index.index.rerank, parts=parts, admission=admission)
    recall = index.recall
    if changed is not None and published is not None:
        gained = gains(spark, shared, config.metric, changed, k=config.k, parts=parts, admission=admission)
        names = [_frame(spark, shared, numbers) for numbers in (changed.fresh, changed.kept)]
        neighbors = merged(
            published.neighbors, neighbors, gained, *names, k=config.k, metric=config.metric
        ).localCheckpoint()
        if index.judged is not None:
            recall = _recall_of(neighbors, shared, index.judged, config)
    if config.filters.min_cosine is not None:
        neighbors = neighbors.where(F.col("cosine") >= config.filters.min_cosine)
    built = index.index
    return Found(
        *(neighbors, deep, "shared", index.method, index.told, recall, index.candidates, built.rerank),
        *(built.occupancy, built.lists.sizes, centre, shared.n_items if asked is None else len(asked)),
    )


def _few_changes(published: Published, shared: SharedFolder, config: SimilarConfig) -> Changes | None:
    changed = changes(shared.ids(), published.before, published.now, published.neighbors)
    share = len(changed.asked) / shared.n_items
    log.info("similar: %.1f %% of the items are new, changed or lost a look-alike", 100 * share)
    return changed if share <= config.incremental_below else None


def _frame(spark: SparkSession, shared: SharedFolder, numbers: NDArray[np.int64]) -> DataFrame:
    return spark.createDataFrame(
        pa.table({"item_id": shared.ids().take(pa.array(numbers))}), "item_id string"
    )


def _recall_of(neighbors: DataFrame, shared: SharedFolder, judged: Judged, config: SimilarConfig) -> Recall:
    names = shared.ids().take(pa.array(judged.rows))
    rows = neighbors.join(F.broadcast(_frame(neighbors.sparkSession, shared, judged.rows)), "item_id")
    found = recalls_of_rows(rows.toArrow(), names, judged.true, config.metric)
    return recall_interval(found.tolist(), seed=config.seed)
