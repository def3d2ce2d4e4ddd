"""The search index of a shared folder: who lies in which cell of a fitted and tuned generator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql.types import LongType, StructField, StructType

from vizrec_spark.kernels.candidates import Rows
from vizrec_spark.kernels.inverted import InvertedLists, invert
from vizrec_spark.similar.capping import Occupancy, capped
from vizrec_spark.similar.generators import Flat, Generator
from vizrec_spark.similar.reduction import Reduction
from vizrec_spark.similar.scoring import Metric
from vizrec_spark.similar.search import LocatedPoints, Searcher, WholePoints
from vizrec_spark.similar.shared import SharedFolder, over_rows, part_of, run_of
from vizrec_spark.similar.splits import Drawn

POINTS = "points"
CHUNK = 4096
"""Queries searched together: enough for wide matrix products, few enough for their candidates to stay in cache."""

WHOLE_BLOCK = 2048
"""Candidates compared at once at full dimension."""

_BLOCK = 65_536  # items whose cells are looked up together

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


def exact_index(shared: SharedFolder, metric: Metric, k: int) -> Index:
    """All against all at full dimension."""
    reduction = Reduction(metric, None, np.zeros(shared.dimension, dtype=np.float32))
    flat = Flat(shared.n_items, block=WHOLE_BLOCK)
    numbers = np.arange(shared.n_items)
    homes = flat.homes(np.zeros((0, 0), np.float32), numbers, numbers)
    return Index(
        shared, reduction, flat, invert(homes, flat.cells), k + _SPARE, Occupancy(shared.n_items, 0, 0)
    )


def built_index(
    shared: SharedFolder, reduction: Reduction, generator: Generator, rerank: int, cap: int, drawn: Drawn
) -> Index:
    """The index of a tuned generator: every item in its cells, none of them above `cap` members (`capping`).

    The driver holds the cells, 4 bytes an item and table, and of the points a block at a time.
    """
    located = LocatedPoints(np.asarray(shared.matrix(POINTS, reduction.width)), reduction)
    numbers, salts = np.arange(shared.n_items), shared.hashes()
    blocks = [slice(at, at + _BLOCK) for at in range(0, shared.n_items, _BLOCK)]
    homes = np.concatenate(
        [generator.homes(located[block], numbers[block], salts[block]) for block in blocks]
    )
    generator, homes, occupancy = capped(generator, located, salts, homes, cap, drawn)
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
