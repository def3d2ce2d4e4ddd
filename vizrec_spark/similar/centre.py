"""The mean of the unit vectors: what all pictures share, and how alike two of them are by it alone.

Pooled features of a network with ReLU units are non-negative and share a large mean: any two pictures are at
a small angle, a random hyperplane has nearly all of them on one side, and one bucket gets nearly everything.
Less the mean, they lie around the origin and the planes cut through their midst.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Row
from pyspark.sql.types import ArrayType, DoubleType, LongType, StructField, StructType

from vizrec_spark.errors import InputError
from vizrec_spark.similar.arrow import list_array, vectors_to_matrix
from vizrec_spark.similar.scoring import checked_squares, unit_rows

SUMS_SCHEMA = StructType(
    [
        StructField("n_items", LongType(), False),
        StructField("total", ArrayType(DoubleType()), False),
    ]
)


@dataclass(frozen=True)
class Centre:
    """mean: d float32, the mean of the unit vectors (a zero vector counts as zero); n_items: of how many."""

    mean: NDArray[np.float32]
    n_items: int

    @property
    def mean_cosine(self) -> float:
        """|mean|²: the expected cosine of two items drawn with replacement, so 0 to 1."""
        return float(np.square(self.mean, dtype=np.float64).sum())

    @property
    def random_pair_cosine(self) -> float:
        """The mean cosine of two different items, at least 0; 0 for fewer than three, where it says nothing.

        (n · |mean|² − 1) / (n − 1): of the n² pairs in |mean|², n are an item with itself, of cosine 1.
        """
        if self.n_items < 3:
            return 0.0
        return max(0.0, (self.n_items * self.mean_cosine - 1.0) / (self.n_items - 1))


def unit_sums(vectors: DataFrame) -> DataFrame:
    """The sum of the unit vectors of each partition: n_items, total (array<double>)."""
    return vectors.select("vector").mapInArrow(_sum_units, SUMS_SCHEMA)


def collect_centre(vectors: DataFrame) -> Centre:
    """Runs a job: the centre of `vectors` (vector array<float>). One row a partition reaches the driver.

    Raises: InputError when there is no vector, or when two partitions' vectors differ in length.
    """
    return centre_of(unit_sums(vectors).collect())


def centre_of(rows: Sequence[Row]) -> Centre:
    """The centre from rows of `SUMS_SCHEMA`; raises as `collect_centre` does."""
    lengths = {len(row.total) for row in rows}
    if len(lengths) != 1:
        found = f"lengths {sorted(lengths)}" if lengths else "none"
        raise InputError(f"expected vectors of one length, got {found}: encode all items with one encoder")
    n_items = sum(row.n_items for row in rows)
    mean = np.sum([row.total for row in rows], axis=0) / n_items
    # Rounded, so that the order of the additions does not decide on which side of a plane a vector lies.
    return Centre(np.round(mean, 7).astype(np.float32), n_items)


def _sum_units(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    count, total = 0, np.zeros(0)
    for batch in batches:
        if batch.num_rows == 0:
            continue
        matrix = vectors_to_matrix(batch.column("vector"))
        checked_squares(matrix)
        units = unit_rows(matrix)
        if count and units.shape[1] != len(total):
            raise InputError(
                f"expected vectors of one length, got {len(total)} and {units.shape[1]}: "
                "encode all items with one encoder"
            )
        summed = units.sum(axis=0, dtype=np.float64)
        total = total + summed if count else summed
        count += len(units)
    if count:
        yield sums_batch(count, total)


def sums_batch(count: int, total: NDArray[np.float64]) -> pa.RecordBatch:
    """One row of `SUMS_SCHEMA`."""
    row = list_array(pa.array(total), np.array([len(total)]))
    return pa.RecordBatch.from_arrays([pa.array([count]), row], names=SUMS_SCHEMA.names)
