"""Fits an index to the vectors of a shared folder: reduction, evidence, the cheapest method, and its recall.

On the driver, from samples: the reduction is learnt from at most `SAMPLE` vectors and the cells from some more
(`sampling.sample_size`), methods are tuned on `tuning_queries` items and judged on `recall_queries` others. Where each
item lies is found out there as well.
"""

from __future__ import annotations

import shutil
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
    recall_interval,
    recalls,
    require_recall,
)
from vizrec_spark.similar.reduction import Reduction, fit_reduction
from vizrec_spark.similar.sampling import Samples, draw_samples
from vizrec_spark.similar.scoring import Metric, Nearest, above
from vizrec_spark.similar.search import Searcher, rescored
from vizrec_spark.similar.shared import SharedFolder, share_vectors
from vizrec_spark.similar.splits import Drawn
from vizrec_spark.similar.tuning import (
    RERANKED,
    SAMPLE,
    Choice,
    Evidence,
    cell_cap,
    exact_work,
    tuned_by,
)
from vizrec_spark.stage import log


@dataclass(frozen=True)
class Judged:
    """Item numbers on which recall is measured, and their true neighbours."""

    rows: NDArray[np.int64]
    true: Nearest


@dataclass(frozen=True)
class Fitted:
    """An index and what it measures. candidates: items that a judged query was compared with, on average; work: ns of
    one core for an item, as tuning counts."""

    index: Index
    method: str
    told: str
    recall: Recall
    candidates: float
    work: float
    judged: Judged | None = None


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
        return _exactly(exact, shared)
    samples = draw_samples(shared.hashes(), config)
    vectors = shared.vectors()
    reduction = fit_reduction(
        vectors[samples.learning[:SAMPLE]], config.dimensions, config.metric, seed=config.seed
    )
    write_points(spark, shared, reduction, parts)
    true = _nearest(exact.searcher(), samples.tuning, config.k, admission)
    evidence = _evidence(shared, reduction, samples, true, config, admission)
    last: Fitted | None = None
    methods = ("flat", "cells", "lsh") if config.method == "auto" else (config.method,)
    for turn, choice in enumerate(tuned_by(evidence, methods, config)):
        if config.method == "auto" and choice.work >= exact_work(shared.n_items, shared.dimension):
            break
        index = built_index(shared, reduction, choice.generator, choice.rerank, evidence.cap, evidence.drawn)
        # Others in each turn: the best of several tries on the same ones would look better than it is.
        rows = samples.judging(turn)
        true = _nearest(exact.searcher(), rows, config.k, admission)
        last = _judged(index, choice, Judged(rows, true), config, admission)
        log.info(
            "similar: %s (%s): recall@%d %.3f on %d items, %.3f expected",
            *(choice.method, choice.told, config.k, last.recall.mean, last.recall.n_queries, choice.recall),
        )
        if last.recall.mean >= config.target_recall:
            return last
    if config.method == "auto" or last is None:
        return _exactly(exact, shared)
    return last


def judged_exactly(shared: SharedFolder, config: SimilarConfig) -> Judged:
    """Items to judge lists on of which nobody has fitted anything, and their true neighbours; no filters."""
    rows = draw_samples(shared.hashes(), config).judging(0)
    exact = exact_index(shared, config.metric, config.k).searcher()
    return Judged(rows, _nearest(exact, rows, config.k, EVERYTHING))


def _exactly(index: Index, shared: SharedFolder) -> Fitted:
    work = exact_work(shared.n_items, shared.dimension)
    return Fitted(index, "exact", "all pairs", UNMEASURED, float(max(shared.n_items - 1, 0)), work)


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
    hashes = shared.hashes()
    drawn = Drawn(reduction.located(points[samples.learning]), hashes[samples.learning])
    flat = built_index(shared, reduction, Flat(shared.n_items), width, shared.n_items, drawn).searcher()
    queries = shared.vectors()[samples.tuning]
    scores, names = flat.ranked(queries, samples.tuning, admission.of_queries(samples.tuning))
    there = true.keys != PAD_KEY
    rank = np.full(true.keys.shape, np.iinfo(np.int64).max)
    for place in range(names.shape[1]):
        row, column = np.nonzero(there & (true.keys == names[:, place, None]))
        # By score and not by place, so that equally near ones do not come before each other.
        rank[row, column] = (scores[row] > above(scores[row, place])[:, None]).sum(axis=1)
    numbers = np.maximum(true.keys, 0)
    located = reduction.located(points[numbers.reshape(-1)])
    return Evidence(
        queries=reduction.located(points[samples.tuning]),
        neighbors=located.reshape(*numbers.shape, -1),
        there=there,
        salts=hashes[numbers],
        reduced_rank=rank,
        drawn=drawn,
        n_items=shared.n_items,
        dimension=shared.dimension,
        width=reduction.width,
        cap=cell_cap(shared.n_items, config.max_bucket_share, shared.dimension, reduction.width),
    )


def _judged(
    index: Index,
    choice: Choice,
    judged: Judged,
    config: SimilarConfig,
    admission: Admission,
) -> Fitted:
    searcher, rows = index.searcher(), judged.rows
    found = _nearest(searcher, rows, config.k, admission)
    per_query = recalls_of_numbers(found.keys, index.shared, judged, config.metric).tolist()
    # Where filters leave nobody a neighbour there is nothing to miss.
    recall = recall_interval(per_query, seed=config.seed) if per_query else UNMEASURED
    probes = index.generator.probes(index.reduction.located(searcher.points[rows]))
    met = np.where(probes >= 0, index.lists.sizes[np.maximum(probes, 0)], 0).sum(axis=1).mean()
    return Fitted(index, choice.method, choice.told, recall, float(met), choice.work, judged)


def recalls_of_numbers(
    found: NDArray[np.int64], shared: SharedFolder, judged: Judged, metric: Metric
) -> NDArray[np.float64]:
    """`recalls` of lists of item numbers (as many as were judged on × m), by scores of the vectors of those numbers."""
    vectors = shared.vectors()
    again = rescored(
        vectors[judged.rows], vectors, shared.squares(), found, found.shape[1], metric, sort=False
    )
    return recalls(found, again.score(metric), judged.true, metric)


def indexed(vectors: DataFrame, folder: Path, config: SimilarConfig) -> str:
    """An index of `vectors` (item_id, vector) in `folder`, for `ask.nearest_items` with at most `config.k`; its path.

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
    try:
        found = fitted(spark, shared, config, EVERYTHING, parts)
        require_recall(found.recall, found.method, found.told, config)
        return save_index(found.index, k=None if found.method == "exact" else config.k)
    except BaseException:  # an index that cannot be used would keep its matrix on the disk
        shutil.rmtree(shared.path, ignore_errors=True)
        raise
