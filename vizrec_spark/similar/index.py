"""The search index of a shared folder: fitted and tuned on the driver, opened by each worker once."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import LongType, StructField, StructType

from vizrec_spark.errors import InputError
from vizrec_spark.kernels.candidates import EVERYTHING, Admission, Rows
from vizrec_spark.kernels.inverted import InvertedLists, invert
from vizrec_spark.similar.arrow import vectors_to_matrix
from vizrec_spark.similar.generators import Flat, Generator, Occupancy
from vizrec_spark.similar.lists import NEIGHBORS_SCHEMA, neighbors_batch
from vizrec_spark.similar.reduction import Reduction
from vizrec_spark.similar.scoring import Metric
from vizrec_spark.similar.search import NO_SELF, Searcher, WholePoints
from vizrec_spark.similar.shared import SharedFolder, evenly, over_rows, part_of, run_of

POINTS = "points"
CHUNK = 4096
"""Queries searched together: enough for wide matrix products, few enough for their candidates to stay in cache."""

WHOLE_BLOCK = 2048
"""Candidates compared at once at full dimension."""

_SPARE = 32  # candidates beyond k that the exact search re-ranks, so that rounding cannot cost one of the k


@dataclass(frozen=True)
class Index:
    """A generator over the points of a folder. `rerank`: candidates scored at full dimension."""

    shared: SharedFolder
    reduction: Reduction
    generator: Generator
    lists: InvertedLists
    rerank: int
    occupancy: Occupancy

    def searcher(self) -> Searcher:
        """The search over this folder's files, mapped into memory."""
        vectors = self.shared.vectors()
        points: Rows = (
            WholePoints(vectors, self.reduction)
            if self.reduction.basis is None
            else np.asarray(self.shared.matrix(POINTS, self.reduction.width))
        )
        return Searcher(
            self.reduction,
            self.generator,
            self.lists,
            points,
            vectors,
            self.shared.squares(),
            self.rerank,
        )

    def located(self) -> NDArray[np.float32]:
        """The located points of all items."""
        return self.reduction.located(self.shared.matrix(POINTS, self.reduction.width))

    def save(self) -> str:
        """Writes the index into its folder; returns the path for `opened`."""
        path = Path(self.shared.path) / "index.pickle"
        path.write_bytes(pickle.dumps(self, protocol=pickle.HIGHEST_PROTOCOL))
        return str(path)


def exact_index(shared: SharedFolder, metric: Metric, k: int) -> Index:
    """All against all at full dimension."""
    reduction = Reduction(metric, None, np.zeros(shared.dimension, dtype=np.float32))
    flat = Flat(shared.n_items, block=WHOLE_BLOCK)
    homes = flat.homes(np.zeros((0, 0), np.float32), np.arange(shared.n_items))
    return Index(
        shared, reduction, flat, invert(homes, flat.cells), k + _SPARE, Occupancy(shared.n_items, 0, 0)
    )


def built_index(
    shared: SharedFolder, reduction: Reduction, generator: Generator, rerank: int, cap: int
) -> Index:
    """The index of a tuned generator: every item in its cells, none of them above `cap` members."""
    located = reduction.located(shared.matrix(POINTS, reduction.width))
    homes = generator.homes(located, np.arange(shared.n_items))
    generator, homes, occupancy = generator.capped(located, homes, cap)
    return Index(shared, reduction, generator, invert(homes, generator.cells), rerank, occupancy)


def write_points(spark: SparkSession, shared: SharedFolder, reduction: Reduction, parts: int) -> None:
    """Runs a job: the points of all vectors, as matrix `POINTS` of the folder."""
    shared.create(POINTS, reduction.width)

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        vectors = shared.vectors()
        points = shared.matrix(POINTS, reduction.width, write=True)
        rows = run_of(shared.n_items, part_of(batches), parts)
        for start in range(rows.start, rows.stop, CHUNK):
            block = slice(start, min(start + CHUNK, rows.stop))
            points[block] = reduction.candidates(vectors[block])
        yield pa.RecordBatch.from_arrays([pa.array([rows.stop - rows.start])], names=["rows"])

    over_rows(spark, parts, write, _ROWS).collect()


_ROWS = StructType([StructField("rows", LongType(), False)])


@lru_cache(maxsize=1)
def opened(path: str) -> tuple[Searcher, pa.Array, NDArray[np.int64]]:
    """The searcher, the ids, and the items in the order in which to ask for them: those of one cell together."""
    index: Index = pickle.loads(Path(path).read_bytes())
    first_cell = np.empty(index.shared.n_items, dtype=np.int64)
    lists = index.lists
    cell = np.repeat(np.arange(len(lists.sizes)), lists.sizes)
    first_cell[lists.members[::-1]] = cell[::-1]
    return index.searcher(), index.shared.ids(), np.argsort(first_cell, kind="stable")


def neighbors_of_all(
    spark: SparkSession,
    index_path: str,
    *,
    k: int,
    parts: int,
    admission: Admission = EVERYTHING,
    asked: NDArray[np.int64] | None = None,
) -> DataFrame:
    """The look-alikes (`lists.NEIGHBORS_SCHEMA`) of every item of the index, or of the numbers `asked`.

    Each task asks for its share.
    """
    facts = spark.sparkContext.broadcast((admission, asked))

    def search(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        searcher, ids, order = opened(index_path)
        admission, asked = facts.value
        if asked is not None:
            order = order[np.isin(order, asked)]
        share = order[run_of(len(order), part_of(batches), parts)]
        for rows in evenly(share, CHUNK):
            if len(rows):
                nearest = searcher.nearest(searcher.vectors[rows], k, rows, admission.of_queries(rows))
                yield neighbors_batch(ids.take(pa.array(rows)), ids, nearest)

    return over_rows(spark, parts, search, NEIGHBORS_SCHEMA)


def nearest_items(queries: DataFrame, index_path: str, *, k: int) -> DataFrame:
    """Search by vectors: the k nearest items of the index for each of `queries` (query_id string, vector array<float>).

    Columns: query_id, rank (1 = nearest), neighbor_id, cosine, distance. For new vectors, such as those of pictures
    that a shopper has taken: a query is compared with every item, and none is left out as being itself.

    Raises: InputError when a query's vector has another length than those of the index.
    """

    def search(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        searcher, ids, _ = opened(index_path)
        for batch in batches:
            for start in range(0, batch.num_rows, CHUNK):
                part = batch.slice(start, CHUNK)
                vectors = vectors_to_matrix(part.column("vector"))
                if vectors.shape[1] != searcher.vectors.shape[1]:
                    raise InputError(
                        f"expected query vectors of length {searcher.vectors.shape[1]}, got {vectors.shape[1]}: "
                        "encode the queries with the encoder of the items"
                    )
                own = np.full(len(vectors), NO_SELF, dtype=np.int64)
                nearest = searcher.nearest(vectors, k, own)
                yield neighbors_batch(part.column("query_id"), ids, nearest)

    asked = queries.select("query_id", "vector")
    found = asked.mapInArrow(search, NEIGHBORS_SCHEMA)
    return found.withColumnRenamed("item_id", "query_id")
