"""Fits an index to the vectors of a shared folder: reduction, evidence, the cheapest method, and its recall.

All of this looks at samples only, on the driver: the reduction and the cells are learnt from at most
`SAMPLE` vectors, methods are tuned on `tuning_queries` items and judged on `recall_queries` others.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.errors import ConfigError, InputError
from vizrec_spark.kernels.candidates import EVERYTHING, Admission
from vizrec_spark.kernels.selection import PAD_KEY
from vizrec_spark.similar.generators import Flat
from vizrec_spark.similar.index import Index, built_index, exact_index, write_points
from vizrec_spark.similar.index_file import save_index
from vizrec_spark.similar.plan import on_one_machine
from vizrec_spark.similar.quality import (
    UNMEASURED,
    Recall,
    query_counts,
    recall_interval,
    recalls,
    require_recall,
)
from vizrec_spark.similar.reduction import Reduction, fit_reduction
from vizrec_spark.similar.scoring import Nearest
from vizrec_spark.similar.search import Searcher
from vizrec_spark.similar.shared import SharedFolder, share_vectors
from vizrec_spark.similar.tuning import (
    RERANKED,
    SAMPLE,
    Choice,
    Evidence,
    cell_sample,
    exact_work,
    smallest_cap,
    tuned_by,
)
from vizrec_spark.stage import log


@dataclass(frozen=True)
class Samples:
    """Item numbers: to learn from (in random order), to tune on and to judge on (ascending; they share none)."""

    learning: NDArray[np.int64]
    tuning: NDArray[np.int64]
    judging: NDArray[np.int64]


@dataclass(frozen=True)
class Judged:
    """Item numbers on which recall is measured, and their true neighbours."""

    rows: NDArray[np.int64]
    true: Nearest


@dataclass(frozen=True)
class Fitted:
    """An index and what it measures. candidates: items that a judged query was compared with, on average."""

    index: Index
    method: str
    told: str
    recall: Recall
    candidates: float
    judged: Judged | None = None


def draw_samples(n_items: int, config: SimilarConfig) -> Samples:
    """Seeded samples of item numbers; the queries are at most all items, half of them each."""
    generator = np.random.default_rng([config.seed, n_items])
    queries = generator.permutation(n_items)
    n_tuning, n_judging = query_counts(n_items, config.tuning_queries, config.recall_queries)
    judging, tuning = queries[:n_judging], queries[n_judging : n_judging + n_tuning]
    # Cells start from the first of them, so their order must not be that of the ids.
    learning = generator.permutation(n_items)[:SAMPLE]
    return Samples(learning, np.sort(tuning), np.sort(judging))


def fitted(
    spark: SparkSession, shared: SharedFolder, config: SimilarConfig, admission: Admission, parts: int
) -> Fitted:
    """The cheapest index that reaches `config.target_recall` on the judged queries.

    Under method ``auto`` a setting that misses the target when it is judged gives way to the next dearer one, and
    in the end to the exact join. Another method is returned with the recall that it has.
    """
    exact = exact_index(shared, config.metric, config.k)
    few = shared.n_items <= max(2, config.exact_below if config.method == "auto" else 0)
    if config.method == "exact" or few:
        return _exactly(exact, shared.n_items)
    samples = draw_samples(shared.n_items, config)
    vectors = shared.vectors()
    reduction = fit_reduction(vectors[samples.learning], config.dimensions, config.metric, seed=config.seed)
    write_points(spark, shared, reduction, parts)
    true = {
        name: _nearest(exact.searcher(), rows, config.k, admission)
        for name, rows in (("tuning", samples.tuning), ("judging", samples.judging))
    }
    evidence = _evidence(shared, reduction, samples, true["tuning"], config, admission)
    cap = smallest_cap(shared.n_items, config.max_bucket_share)
    last: Fitted | None = None
    methods = ("flat", "cells", "lsh") if config.method == "auto" else (config.method,)
    for choice in tuned_by(evidence, methods, config):
        if config.method == "auto" and choice.work >= exact_work(shared.n_items, shared.dimension):
            break
        index = built_index(shared, reduction, choice.generator, choice.rerank, cap)
        last = _judged(index, choice, samples.judging, true["judging"], config, admission)
        log.info(
            "similar: %s (%s): recall@%d %.3f on %d items, %.3f expected",
            *(choice.method, choice.told, config.k, last.recall.mean, last.recall.n_queries, choice.recall),
        )
        if last.recall.mean >= config.target_recall:
            return last
    if config.method == "auto" or last is None:
        return _exactly(exact, shared.n_items)
    return last


def _exactly(index: Index, n_items: int) -> Fitted:
    return Fitted(index, "exact", "all pairs", UNMEASURED, float(max(n_items - 1, 0)))


def _nearest(searcher: Searcher, rows: NDArray[np.int64], k: int, admission: Admission) -> Nearest:
    return searcher.nearest(searcher.vectors[rows], k, rows, admission.of_queries(rows))


def _evidence(
    shared: SharedFolder,
    reduction: Reduction,
    samples: Samples,
    true: Nearest,
    config: SimilarConfig,
    admission: Admission,
) -> Evidence:
    points = shared.matrix("points", reduction.width)
    width = min(int(np.ceil(RERANKED[-1] * config.k)), shared.n_items)
    if config.rerank is not None:
        width = max(width, config.rerank)
    flat = built_index(shared, reduction, Flat(shared.n_items), width, shared.n_items).searcher()
    ranked = flat.ranked(
        shared.vectors()[samples.tuning], samples.tuning, admission.of_queries(samples.tuning)
    )
    rank = np.full(true.keys.shape, np.iinfo(np.int64).max)
    for place in range(ranked.shape[1]):
        rank[true.keys == ranked[:, place, None]] = place
    there = true.keys != PAD_KEY
    numbers = np.maximum(true.keys, 0)
    located = reduction.located(points[numbers.reshape(-1)])
    learning = samples.learning
    wanted = cell_sample(shared.n_items, config.cells)
    if len(learning) < wanted:
        generator = np.random.default_rng(config.seed)
        learning = generator.permutation(shared.n_items)[:wanted]
    return Evidence(
        queries=reduction.located(points[samples.tuning]),
        neighbors=located.reshape(*numbers.shape, -1),
        there=there,
        reduced_rank=rank,
        sample=reduction.located(points[learning]),
        n_items=shared.n_items,
        dimension=shared.dimension,
        width=reduction.width,
        cap=smallest_cap(shared.n_items, config.max_bucket_share),
    )


def _judged(
    index: Index,
    choice: Choice,
    rows: NDArray[np.int64],
    true: Nearest,
    config: SimilarConfig,
    admission: Admission,
) -> Fitted:
    searcher = index.searcher()
    found = _nearest(searcher, rows, config.k, admission)
    per_query = recalls(found, true, config.metric).tolist()
    # Where filters leave nobody a neighbour there is nothing to miss.
    recall = recall_interval(per_query, seed=config.seed) if per_query else UNMEASURED
    probes = index.generator.probes(index.reduction.located(searcher.points[rows]))
    met = np.where(probes >= 0, index.lists.sizes[np.maximum(probes, 0)], 0).sum(axis=1).mean()
    return Fitted(index, choice.method, choice.told, recall, float(met), Judged(rows, true))


def indexed(vectors: DataFrame, folder: Path, config: SimilarConfig) -> str:
    """An index of `vectors` (item_id, vector) in `folder`, for `ask.nearest_items`; returns its path.

    `folder` must exist and stay for as long as the index is searched; it may hold other indexes.

    Raises: ConfigError on a cluster, whose hosts would lose each other's pages of the files; InputError when there
    are no vectors; RecallError when the index misses `config.target_recall`.
    """
    spark = vectors.sparkSession
    master = spark.sparkContext.master
    if not on_one_machine(master):
        raise ConfigError(
            f"Search by vectors maps files into memory, which is for a master local[...], got {master}: "
            "make the index and ask it in a session on one machine."
        )
    shared, _ = share_vectors(vectors, folder)
    if shared.n_items == 0:
        raise InputError("expected vectors to search in, got none: run stage `embed` first")
    parts = 2 * spark.sparkContext.defaultParallelism
    found = fitted(spark, shared, config, EVERYTHING, parts)
    require_recall(found.recall, found.method, found.told, config)
    return save_index(found.index)
