"""Fits a method for the partitioned plan: samples come to the driver, everything over all items runs in Spark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, LongType, StructField, StructType

from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.similar.arrow import list_array, matrix_to_vectors, vectors_to_matrix
from vizrec_spark.similar.blocks import pack_blocks
from vizrec_spark.similar.exact import exact_block_join
from vizrec_spark.similar.generators import Occupancy
from vizrec_spark.similar.quality import query_counts, sample_queries
from vizrec_spark.similar.reduction import Reduction, fit_reduction
from vizrec_spark.similar.shards import Method
from vizrec_spark.similar.tuning import (
    SAMPLE,
    Choice,
    Evidence,
    cell_sample,
    exact_work,
    smallest_cap,
    tuned_by,
)

_COUNTS = StructType([StructField("ahead", ArrayType(LongType()), False)])


@dataclass(frozen=True)
class FittedMethod:
    """A method, how it was chosen, how full its cells are on the sample that it was learnt from, and the located
    points of the tuning queries (q × m)."""

    method: Method
    choice: Choice
    occupancy: Occupancy
    sizes: NDArray[np.int64]
    queries: NDArray[np.float32]


def fitted_by_shards(
    vectors: DataFrame, blocks: DataFrame, n_items: int, config: SimilarConfig
) -> FittedMethod | None:
    """The cheapest of cells and hashes that reaches the target on tuning queries; None where that is all pairs.

    `vectors` (item_id, vector) and the same as `blocks` (`blocks.BLOCKS_SCHEMA`), both persisted. Runs four jobs.
    The driver holds `SAMPLE` vectors, and reduced ones: 48 a cell, and tuning_queries · k neighbours.
    """
    few = n_items <= max(2, config.exact_below if config.method == "auto" else 0)
    if config.method == "exact" or few:
        return None
    wanted = max(SAMPLE, cell_sample(n_items, config.cells))
    whole = _matrix(sample_queries(vectors, SAMPLE, seed=config.seed + 2), "vector")
    dimension = whole.shape[1]
    reduction = fit_reduction(whole, config.dimensions, config.metric, seed=config.seed)
    drawn = sample_queries(vectors, wanted, seed=config.seed + 2)
    sample = _matrix(_projected(drawn, reduction, "located"), "points")
    n_tuning = query_counts(n_items, config.tuning_queries, config.recall_queries)[0]
    asked = sample_queries(vectors, n_tuning, seed=config.seed + 1).localCheckpoint()
    true = exact_block_join(
        pack_blocks(asked, block_rows=config.block_rows),
        blocks,
        k=config.k,
        metric=config.metric,
        block_rows=config.block_rows,
    )
    true = true.localCheckpoint()
    found = vectors.join(
        true.select(F.col("neighbor_id").alias("item_id")).distinct(), "item_id", "left_semi"
    )
    near = _projected(found, reduction, "candidates").withColumnsRenamed(
        {"item_id": "neighbor_id", "points": "near"}
    )
    rows = (
        _projected(asked, reduction, "queries")
        .join(true, "item_id")
        .join(near, "neighbor_id")
        .select("item_id", "rank", "points", "near")
        .orderBy("item_id", "rank")
        .toArrow()
        .combine_chunks()
    )
    evidence = _evidence(vectors, rows, reduction, sample, n_items, dimension, config)
    methods = ("cells", "lsh") if config.method == "auto" else (config.method,)
    choice = tuned_by(evidence, methods, config)[0]
    if config.method == "auto" and choice.work >= exact_work(n_items, evidence.dimension):
        return None
    # Cells are capped on the sample, in proportion: nobody holds all items to do it exactly.
    share = len(sample) / n_items
    homes = choice.generator.homes(evidence.sample, np.arange(len(sample)))
    cap = max(4, int(smallest_cap(n_items, config.max_bucket_share) * share))
    generator, homes, occupancy = choice.generator.capped(evidence.sample, homes, cap)
    sizes = np.bincount(homes.reshape(-1), minlength=generator.cells)
    occupancy = replace(
        occupancy,
        largest=int(sizes.max() / share),
        cut_pairs=int(occupancy.cut_pairs / share**2),  # pairs grow as the square of the items
    )
    method = Method(reduction, generator, choice.rerank)
    return FittedMethod(method, choice, occupancy, (sizes / share).astype(np.int64), evidence.queries)


def _matrix(vectors: DataFrame, column: str) -> NDArray[np.float32]:
    return vectors_to_matrix(vectors.select(column).toArrow().column(0))


def _projected(
    vectors: DataFrame, reduction: Reduction, what: Literal["queries", "candidates", "located"]
) -> DataFrame:
    """item_id and points (array<float>) of `vectors` (item_id, vector): reduced where they are."""

    def project(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                matrix = vectors_to_matrix(batch.column("vector"))
                points = reduction.queries(matrix) if what == "queries" else reduction.candidates(matrix)
                points = reduction.located(points) if what == "located" else points
                columns = [batch.column("item_id"), matrix_to_vectors(points)]
                yield pa.RecordBatch.from_arrays(columns, names=["item_id", "points"])

    return vectors.select("item_id", "vector").mapInArrow(project, "item_id string, points array<float>")


def _evidence(
    vectors: DataFrame,
    rows: pa.Table,
    reduction: Reduction,
    located_sample: NDArray[np.float32],
    n_items: int,
    dimension: int,
    config: SimilarConfig,
) -> Evidence:
    items = rows.column("item_id").to_numpy()
    query_of = np.unique(items, return_inverse=True)[1]
    place = rows.column("rank").to_numpy() - 1
    first = np.flatnonzero(np.diff(query_of, prepend=-1))
    queries = vectors_to_matrix(rows.column("points"))[first]
    near = vectors_to_matrix(rows.column("near"))
    there = np.zeros((len(queries), config.k), dtype=bool)
    there[query_of, place] = True
    located = np.zeros((len(queries), config.k, located_sample.shape[1]), dtype=np.float32)
    located[query_of, place] = reduction.located(near)
    bars = np.full(there.shape, np.inf, dtype=np.float32)
    bars[query_of, place] = np.einsum("ij,ij->i", queries[query_of], near)
    ahead = _ahead(vectors, reduction, queries, bars) - 1  # every query meets itself, ahead of the others
    return Evidence(
        queries=reduction.located(queries),
        neighbors=located,
        there=there,
        reduced_rank=np.maximum(ahead, 0),
        sample=located_sample,
        n_items=n_items,
        dimension=dimension,
        width=reduction.width,
        cap=smallest_cap(n_items, config.max_bucket_share),
    )


def _ahead(
    vectors: DataFrame, reduction: Reduction, queries: NDArray[np.float32], bars: NDArray[np.float32]
) -> NDArray[np.int64]:
    """How many items have a larger product with query i than each of `bars[i]` (q × k); one row a partition returns."""
    order = np.argsort(bars, axis=1)
    ascending = np.take_along_axis(bars, order, axis=1)
    shape = bars.shape

    def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        ahead = np.zeros(shape, dtype=np.int64)
        for batch in batches:
            if batch.num_rows:
                scores = queries @ reduction.candidates(vectors_to_matrix(batch.column("vector"))).T
                for query in range(len(queries)):
                    passed = np.searchsorted(ascending[query], scores[query])
                    beaten = np.bincount(passed, minlength=shape[1] + 1)
                    ahead[query] += beaten[::-1].cumsum()[::-1][1:]
        flat = list_array(pa.array(ahead.reshape(-1)), np.array([ahead.size]))
        yield pa.RecordBatch.from_arrays([flat], names=["ahead"])

    counted = vectors.select("vector").mapInArrow(count, _COUNTS).collect()
    total = np.sum([row.ahead for row in counted], axis=0).reshape(shape)
    found = np.empty_like(total)
    np.put_along_axis(found, order, total, axis=1)
    return found
