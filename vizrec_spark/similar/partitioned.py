"""Runs the partitioned plan: fits it, searches shard by shard, measures the recall of what came out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from pyspark import Broadcast, StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.errors import ConfigError
from vizrec_spark.similar.blocks import pack_blocks
from vizrec_spark.similar.centre import collect_centre
from vizrec_spark.similar.exact import exact_block_join
from vizrec_spark.similar.fit_shards import fitted_by_shards
from vizrec_spark.similar.found import Found
from vizrec_spark.similar.generators import Occupancy
from vizrec_spark.similar.quality import (
    UNMEASURED,
    Recall,
    query_counts,
    recall_at_k,
    recall_interval,
    sample_queries,
)
from vizrec_spark.similar.shards import Sharding, neighbors_by_shards, sharding, shards_for
from vizrec_spark.stage import log

_SHARD_BYTES = 2**30


@contextmanager
def partitioned_search(vectors: DataFrame, config: SimilarConfig) -> Iterator[Found | None]:
    """The look-alikes of all `vectors` (item_id, vector), or None where there are none; persisted until the exit.

    Raises: ConfigError when filters are set, which need the shared plan.
    """
    filters = config.filters
    if filters.where or filters.same or filters.price_band or filters.exclude:
        raise ConfigError(
            "similar.filters: where, same, price_band and exclude need the shared plan, which is for a master "
            "local[...]: set similar.plan to shared there, or leave these filters out."
        )
    vectors = vectors.persist(StorageLevel.DISK_ONLY)
    blocks = pack_blocks(vectors, block_rows=config.block_rows).persist(StorageLevel.DISK_ONLY)
    neighbors: DataFrame | None = None
    dealt: Broadcast[Sharding] | None = None
    try:
        if vectors.isEmpty():
            yield None
            return
        centre = collect_centre(vectors)
        n_items, dimension = centre.n_items, len(centre.mean)
        fitted = fitted_by_shards(vectors, blocks, n_items, config)
        if fitted is None:
            found = exact_block_join(
                blocks, blocks, k=config.k, metric=config.metric, block_rows=config.block_rows
            )
            found = found.persist(StorageLevel.DISK_ONLY)
            neighbors = found
            everyone = Occupancy(n_items, 0, 0)
            one = np.array([n_items])
            yield Found(
                *(found, found, "partitioned", "exact", "all pairs", UNMEASURED, n_items - 1.0, config.k),
                *(everyone, one, centre, n_items),
            )
            return
        method = fitted.method
        item_bytes = 4 * (2 * dimension + method.reduction.width)
        cores = vectors.sparkSession.sparkContext.defaultParallelism
        shards, copies = shards_for(
            method.generator, fitted.queries, n_items * item_bytes, cores, _SHARD_BYTES, seed=config.seed
        )
        log.info(
            "similar: %d shards of about %s MiB, each vector goes to %.1f of them",
            *(shards, f"{copies * n_items * item_bytes / shards / 2**20:,.0f}", copies),
        )
        dealt = vectors.sparkSession.sparkContext.broadcast(sharding(method, shards, seed=config.seed))
        deep = neighbors_by_shards(vectors, dealt, k=method.rerank).persist(StorageLevel.DISK_ONLY)
        neighbors = deep
        found = deep.where(F.col("rank") <= config.k)
        recall = _measured(vectors, blocks, found, n_items, config)
        candidates = float(fitted.choice.candidates)
        yield Found(
            *(found, deep, "partitioned", fitted.choice.method, fitted.choice.told, recall, candidates),
            *(method.rerank, fitted.occupancy, fitted.sizes, centre, n_items),
        )
    finally:
        if neighbors is not None:
            neighbors.unpersist()
        if dealt is not None:
            dealt.destroy()
        blocks.unpersist()
        vectors.unpersist()


def _measured(
    vectors: DataFrame, blocks: DataFrame, found: DataFrame, n_items: int, config: SimilarConfig
) -> Recall:
    n_tuning, n_judging = query_counts(n_items, config.tuning_queries, config.recall_queries)
    tuning = sample_queries(vectors, n_tuning, seed=config.seed + 1).select("item_id")
    others = vectors.join(F.broadcast(tuning), "item_id", "left_anti")
    asked = pack_blocks(sample_queries(others, n_judging, seed=config.seed), block_rows=config.block_rows)
    true = exact_block_join(asked, blocks, k=config.k, metric=config.metric, block_rows=config.block_rows)
    per_query = recall_at_k(found, true, metric=config.metric).collect()
    return recall_interval([row.recall for row in per_query], seed=config.seed)
