"""Features on the driver's disk: streamed from Delta as Arrow batches, mapped into memory and read by rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.errors import TableError
from vizrec_spark.kernels.adapted import Floats, unit_roots
from vizrec_spark.kernels.vector_rows import vector_rows
from vizrec_spark.scratch import make_file

BLOCK = 4096
"""Rows that are worked on at a time."""

ROOMIER = "name a roomier folder in adapt.scratch"
"""What to do where the disk has too little room."""


class Features:
    """Prepared features (see `unit_roots`) by row, from a file of n × d float32 that is mapped, not read."""

    def __init__(self, raw: Floats) -> None:
        self.raw = raw

    @property
    def dimension(self) -> int:
        """Length of a row."""
        return int(self.raw.shape[1])

    def rows(self, rows: NDArray[np.int64]) -> Floats:
        """φ of some rows, (len(rows), d)."""
        return unit_roots(np.asarray(self.raw[rows]))

    def blocks(self, rows: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """`rows` in pieces of at most `BLOCK`, with their φ."""
        for start in range(0, len(rows), BLOCK):
            piece = rows[start : start + BLOCK]
            yield piece, self.rows(piece)


def spool(embeddings: DataFrame, sha256: pa.StringArray, dimension: int, file: Path) -> Features:
    """The vectors of `embeddings` (sha256, vector; of one encoder) in the order of `sha256`, through `file`.

    Runs a job, which reads no vectors but those. The driver holds two partitions' batches at a time; the file takes
    4 · n · d bytes. Raises: TableError when a picture has no vector; InputError for vectors of another length;
    DiskSpaceError.
    """
    features, filled = spool_some(embeddings, sha256, dimension, file)
    if not filled.all():
        raise TableError(
            f"{int((~filled).sum()):,} labelled pictures have lost their vectors while they were read: run it again."
        )
    return features


def spool_some(
    embeddings: DataFrame, sha256: pa.StringArray, dimension: int, file: Path
) -> tuple[Features, NDArray[np.bool_]]:
    """Like `spool`, and which pictures have a vector, (n,); the rows of others are 0."""
    make_file(file, 4 * len(sha256) * dimension, ROOMIER)
    raw = np.memmap(file, np.float32, "r+", shape=(len(sha256), dimension))
    filled = np.zeros(len(sha256), bool)
    names = embeddings.sparkSession.createDataFrame(pa.table({"sha256": sha256}))
    wanted = embeddings.select("sha256", "vector").join(F.broadcast(names), "sha256", "left_semi")
    for batch in arrow_batches(wanted):
        rows = pc.index_in(batch.column(0), value_set=sha256).to_numpy()
        raw[rows] = vector_rows(batch.column(1), dimension)
        filled[rows] = True
    raw.flush()
    return Features(np.memmap(file, np.float32, "r", shape=raw.shape)), filled


def arrow_batches(frame: DataFrame) -> Iterator[pa.RecordBatch]:
    """The rows of `frame` as Arrow batches, a partition at a time."""
    packed = frame.mapInArrow(_packed, "batch binary")
    for row in packed.toLocalIterator(prefetchPartitions=True):
        with pa.ipc.open_stream(bytes(row.batch)) as stream:
            yield from stream


def _packed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        yield pa.RecordBatch.from_arrays([pa.array([sink.getvalue().to_pybytes()], pa.binary())], ["batch"])
