"""Fits a method for the partitioned plan: samples come to the driver, everything over all items runs in Spark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, LongType, StructField, StructType

from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.config.models.similar import FiltersConfig
from vizrec_spark.kernels.selection import PAD_KEY
from vizrec_spark.similar.admits import admission_between, admits_in, allowed, kept_columns
from vizrec_spark.similar.arrow import list_array, matrix_to_vectors, vectors_to_matrix
from vizrec_spark.similar.capping import (
    Occupancy,
    begin_splits,
    divided,
    occupancy_of,
    sizes_after,
    with_edges,
)
from vizrec_spark.similar.few import Few, fetched, nearest_of, numbers_in
from vizrec_spark.similar.generators import Cells, Hashes
from vizrec_spark.similar.quality import query_counts
from vizrec_spark.similar.reduction import Reduction, fit_reduction
from vizrec_spark.similar.sampling import (
    TURNS,
    draw_ids,
    drawing,
    learning_seed,
    query_seed,
    sample_size,
    turn_of,
)
from vizrec_spark.similar.scoring import above
from vizrec_spark.similar.shards import Method
from vizrec_spark.similar.splits import Drawn, Splits, part_ends
from vizrec_spark.similar.tuning import SAMPLE, Evidence, cell_cap

_COUNTS = StructType([StructField("ahead", ArrayType(LongType()), False)])
_POINTS = "item_id string, hash long, points array<float>"


@dataclass(frozen=True)
class Learnt:
    """What samples say. evidence: what methods are tuned on; others: queries to judge on, `judged` of them at a time in
    the `order` of these ids, of n_others that there are (as many as `TURNS` attempts need are fetched)."""

    reduction: Reduction
    evidence: Evidence
    others: Few
    order: pa.Array
    n_others: int
    judged: int

    def judging(self, turn: int) -> Few:
        """The queries of an attempt (from 0): others than before, while they last."""
        return self.others.of(self.order.take(pa.array(turn_of(turn, self.judged, self.n_others))))


@dataclass(frozen=True)
class Sized:
    """A method with no cell above the cap, and the members of each of its cells."""

    method: Method
    sizes: NDArray[np.int64]
    occupancy: Occupancy


def learnt_by_shards(vectors: DataFrame, ids: DataFrame, n_items: int, config: SimilarConfig) -> Learnt:
    """Runs seven jobs: samples of `vectors` (item_id, vector), and what tuning has to know of them.

    Both persisted, `ids` being the item_id alone. The driver holds `SAMPLE` vectors, those of the queries, and reduced
    ones: 48 a cell, and tuning_queries · k neighbours.
    """
    n_tuning, n_judging = query_counts(n_items, config.tuning_queries, config.recall_queries)
    queries = _in_order(draw_ids(ids, n_tuning + TURNS * n_judging, query_seed(config)))
    learning = _in_order(draw_ids(ids, min(n_items, SAMPLE), learning_seed(config)))
    few = fetched(vectors, pa.concat_arrays([queries, learning]))
    sample = few.vectors[pc.index_in(learning, value_set=few.ids).to_numpy()]
    reduction = fit_reduction(sample, config.dimensions, config.metric, seed=config.seed)
    wanted = F.broadcast(draw_ids(ids, sample_size(n_items, config), learning_seed(config)))
    rows = _projected(vectors.join(wanted.select("item_id"), "item_id"), reduction, "located")
    rows = rows.withColumn("drawn", drawing(learning_seed(config))).toArrow()
    rows = rows.sort_by([("drawn", "ascending"), ("item_id", "ascending")]).combine_chunks()
    drawn = Drawn(vectors_to_matrix(rows.column("points")), rows.column("hash").to_numpy())
    tuning, others = queries.slice(0, n_tuning), queries.slice(n_tuning)
    evidence = _evidence(vectors, few.of(tuning), reduction, drawn, n_items, config)
    return Learnt(reduction, evidence, few.of(others), others, n_items - n_tuning, n_judging)


def sized(vectors: DataFrame, method: Method, cap: int, drawn: Drawn) -> Sized:
    """Runs a job, and one more where cells are crowded: `method` over all `vectors` (item_id, vector), with the cap."""
    generator, reduction = method.generator, method.reduction
    assert isinstance(generator, Cells | Hashes)

    def homes_of(batch: pa.RecordBatch) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        located = reduction.located(reduction.candidates(vectors_to_matrix(batch.column("vector"))))
        hashes = batch.column("hash").to_numpy()
        return located, generator.homes(located, np.arange(len(located)), hashes)

    def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        counts = np.zeros(generator.cells, dtype=np.int64)
        for batch in batches:
            if batch.num_rows:
                counts += np.bincount(homes_of(batch)[1].reshape(-1), minlength=len(counts))
        held = np.flatnonzero(counts)
        yield pa.RecordBatch.from_arrays([pa.array(held), pa.array(counts[held])], names=["cell", "members"])

    hashed = vectors.select("item_id", "vector", F.xxhash64("item_id").alias("hash"))
    counted = hashed.mapInArrow(count, "cell long, members long")
    rows = counted.groupBy("cell").agg(F.sum("members").alias("members")).toArrow()
    sizes = np.zeros(generator.cells, dtype=np.int64)
    sizes[rows.column("cell").to_numpy()] = rows.column("members").to_numpy()
    begun = begin_splits(generator, sizes, cap, drawn)
    occupancy = occupancy_of(generator, sizes, cap)
    if not len(begun.crowded):
        return Sized(method, sizes, occupancy)

    def keys(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                located, homes = homes_of(batch)
                at, _, place = begun.crowded_entries(homes)
                columns = [
                    pa.array(begun.crowded[place].astype(np.int64)),
                    pa.array(begun.heights_of(located[at], place)),
                    batch.column("hash").take(pa.array(at)),
                ]
                yield pa.RecordBatch.from_arrays(columns, names=["cell", "height", "salt"])

    found = _edges(hashed.mapInArrow(keys, "cell long, height long, salt long"), begun, sizes, cap)
    generator = divided(generator, with_edges(begun, found), drawn)
    return Sized(Method(reduction, generator, method.rerank), sizes_after(sizes, cap), occupancy)


def _edges(
    keys: DataFrame, begun: Splits, sizes: NDArray[np.int64], cap: int
) -> dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Height and salt of the last member of each part but the last, by cell; a cell's keys are sorted in one task."""
    places = {int(code): part_ends(int(sizes[code]), cap) for code in begun.crowded}
    wanted = pa.table(
        {
            "cell": np.repeat(list(places), [len(ends) for ends in places.values()]),
            "place": np.concatenate(list(places.values())),
        }
    )
    place = F.row_number().over(Window.partitionBy("cell").orderBy("height", "salt")).cast("long")
    ends = keys.sparkSession.createDataFrame(wanted, "cell long, place long")
    rows = keys.withColumn("place", place).join(F.broadcast(ends), ["cell", "place"]).toArrow()
    rows = rows.sort_by([("cell", "ascending"), ("place", "ascending")])
    cell, height, salt = (rows.column(name).to_numpy() for name in ("cell", "height", "salt"))
    return {code: (height[cell == code], salt[cell == code]) for code in places}


def _in_order(drawn: DataFrame) -> pa.Array:
    rows = drawn.toArrow().sort_by([("drawn", "ascending"), ("item_id", "ascending")])
    return rows.column("item_id").cast(pa.string()).combine_chunks()


def _projected(vectors: DataFrame, reduction: Reduction, what: Literal["candidates", "located"]) -> DataFrame:
    """item_id, its hash and points (array<float>) of `vectors` (item_id, vector): reduced where they are."""

    def project(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                points = reduction.candidates(vectors_to_matrix(batch.column("vector")))
                points = reduction.located(points) if what == "located" else points
                columns = [batch.column("item_id"), batch.column("hash"), matrix_to_vectors(points)]
                yield pa.RecordBatch.from_arrays(columns, names=["item_id", "hash", "points"])

    hashed = vectors.select("item_id", "vector", F.xxhash64("item_id").alias("hash"))
    return hashed.mapInArrow(project, _POINTS)


def _evidence(
    vectors: DataFrame,
    asked: Few,
    reduction: Reduction,
    drawn: Drawn,
    n_items: int,
    config: SimilarConfig,
) -> Evidence:
    dimension = asked.vectors.shape[1]
    true = nearest_of(asked, vectors, k=config.k, metric=config.metric, filters=config.filters)
    query, place = numbers_in(asked.ids, true.column("item_id")), true.column("rank").to_numpy() - 1
    near_ids = pc.unique(true.column("neighbor_id").cast(pa.string()))
    names = vectors.sparkSession.createDataFrame(pa.table({"item_id": near_ids}), "item_id string")
    near = _projected(vectors.join(F.broadcast(names), "item_id"), reduction, "candidates").toArrow()
    at = numbers_in(near.column("item_id").cast(pa.string()).combine_chunks(), true.column("neighbor_id"))
    # Without a row, as where filters leave nobody a neighbour, no width is known.
    points = vectors_to_matrix(near.column("points")).reshape(-1, reduction.width)[at]
    queries = reduction.queries(asked.vectors)
    there = np.zeros((len(queries), config.k), dtype=bool)
    there[query, place] = True
    located = np.zeros((len(queries), config.k, drawn.located.shape[1]), dtype=np.float32)
    located[query, place] = reduction.located(points)
    salts = np.zeros(there.shape, dtype=np.int64)
    salts[query, place] = near.column("hash").to_numpy()[at]
    bars = np.full(there.shape, np.inf, dtype=np.float32)
    bars[query, place] = above(np.einsum("ij,ij->i", queries[query], points))
    ahead = _ahead(vectors, reduction, asked, bars, config.filters)
    return Evidence(
        queries=reduction.located(queries),
        neighbors=located,
        there=there,
        salts=salts,
        reduced_rank=np.where(there, ahead, np.iinfo(np.int64).max),
        drawn=drawn,
        n_items=n_items,
        dimension=dimension,
        width=reduction.width,
        cap=cell_cap(n_items, config.max_bucket_share, dimension, reduction.width),
    )


def _ahead(
    vectors: DataFrame,
    reduction: Reduction,
    asked: Few,
    bars: NDArray[np.float32],
    filters: FiltersConfig,
) -> NDArray[np.int64]:
    """How many other items, of those that query i may get, have a larger product with it than `bars[i]` (q × k)."""
    order = np.argsort(bars, axis=1)
    ascending = np.take_along_axis(bars, order, axis=1)
    shape = bars.shape
    queries, ids, admits = reduction.queries(asked.vectors), asked.ids, asked.admits

    def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        ahead = np.zeros(shape, dtype=np.int64)
        for batch in batches:
            if batch.num_rows:
                scores = queries @ reduction.candidates(vectors_to_matrix(batch.column("vector"))).T
                names = batch.column("item_id")
                same = pc.fill_null(pc.index_in(ids, value_set=names), PAD_KEY).to_numpy()
                here = np.flatnonzero(same >= 0)
                scores[here, same[here]] = -np.inf
                between = admission_between(admits, admits_in(batch), names, filters)
                may = allowed(between, *scores.shape)
                if may is not None:
                    scores[~may] = -np.inf
                for query in range(len(queries)):
                    passed = np.searchsorted(ascending[query], scores[query])
                    beaten = np.bincount(passed, minlength=shape[1] + 1)
                    ahead[query] += beaten[::-1].cumsum()[::-1][1:]
        flat = list_array(pa.array(ahead.reshape(-1)), np.array([ahead.size]))
        yield pa.RecordBatch.from_arrays([flat], names=["ahead"])

    counted = vectors.select(*kept_columns(vectors)).mapInArrow(count, _COUNTS)
    placed = counted.select(F.posexplode("ahead").alias("place", "ahead"))
    summed = placed.groupBy("place").agg(F.sum("ahead").alias("ahead")).toArrow()
    total = np.zeros(shape, dtype=np.int64)
    total.reshape(-1)[summed.column("place").to_numpy()] = summed.column("ahead").to_numpy()
    found = np.empty_like(total)
    np.put_along_axis(found, order, total, axis=1)
    return found
