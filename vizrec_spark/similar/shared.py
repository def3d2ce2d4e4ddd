"""Vectors written once into a folder that every worker of a machine maps into memory, instead of shipping them.

The folder holds one matrix of all vectors in the order of their ids, so that an item is a row number, and rows are
where they are however the input is partitioned. Workers write their rows in place, then read each other's as pages
of the same file: the processes of a machine share one copy of it, in the system's page cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from vizrec_spark.errors import InputError
from vizrec_spark.similar.arrow import vectors_to_matrix
from vizrec_spark.similar.centre import SUMS_SCHEMA, Centre, centre_of, sums_batch
from vizrec_spark.similar.folder import make_file
from vizrec_spark.similar.lists import ArrowFunction
from vizrec_spark.similar.numbering import Numbering, numbered
from vizrec_spark.similar.scoring import Floats, checked_squares, unit_rows


@dataclass(frozen=True)
class SharedFolder:
    """Files of one run: ids.arrow, hashes.npy, numbers.npy, and matrices n × width of float32, by name."""

    path: str
    n_items: int
    dimension: int

    def create(self, name: str, width: int) -> None:
        """Makes room for a matrix of float32. Raises: DiskSpaceError where there is too little."""
        make_file(Path(self.path) / f"{name}.f32", 4 * self.n_items * width)

    def matrix(self, name: str, width: int, *, write: bool = False) -> Floats:
        """A matrix as it lies in the file, n × width."""
        return np.memmap(
            Path(self.path) / f"{name}.f32", np.float32, "r+" if write else "r", shape=(self.n_items, width)
        )

    def vectors(self) -> Floats:
        """The raw vectors, n × dimension, without the memmap's subclass, which slows down small slices."""
        return np.asarray(self.matrix("vectors", self.dimension))

    def squares(self) -> Floats:
        """Their squared lengths, n."""
        return np.asarray(self.matrix("squares", 1))[:, 0]

    def ids(self) -> pa.Array:
        """All item ids ascending; row i of every matrix belongs to id i."""
        with pa.memory_map(str(Path(self.path) / "ids.arrow")) as file:
            return pa.ipc.open_file(file).get_batch(0).column(0)

    def number(self, numbering: Numbering) -> None:
        """Keeps the ids and their hashes."""
        batch = pa.RecordBatch.from_arrays([numbering.ids], names=["item_id"])
        file = str(Path(self.path) / "ids.arrow")
        with pa.OSFile(file, "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        np.save(Path(self.path) / "hashes.npy", numbering.hashes)
        np.save(Path(self.path) / "numbers.npy", numbering.numbers)

    def hashes(self) -> NDArray[np.int64]:
        """The `xxhash64` of each id, in the order of the ids."""
        known = self.numbering()
        hashes = np.empty(self.n_items, dtype=np.int64)
        hashes[known.numbers] = known.hashes
        return hashes

    def numbering(self) -> Numbering:
        """The ids and their hashes, through memory maps."""
        hashes, numbers = (
            np.load(Path(self.path) / f"{name}.npy", mmap_mode="r") for name in ("hashes", "numbers")
        )
        return Numbering(self.ids(), np.asarray(hashes), np.asarray(numbers))


def share_vectors(
    vectors: DataFrame, folder: Path, dimension: int | None = None
) -> tuple[SharedFolder, Centre]:
    """Runs two jobs: the ids are gathered on the driver and numbered, then the workers write the vectors.

    `vectors` (item_id string unique, vector array<float>); `folder` must be one that driver and workers see.
    The files go into a new folder below it, so that others that lie there stay as they are.
    `dimension` is the vectors' length, looked up where it is not given. Returns the folder and the
    vectors' centre. The driver holds the ids alone: some 100 bytes an item.
    Disk: 4 · d + 4 bytes an item, and some 100 of ids.

    Raises: InputError when an id comes twice or vectors differ in length.
    """
    hashed = vectors.select("item_id", F.xxhash64("item_id").alias("hash")).toArrow()
    ids, hashes = (column.combine_chunks() for column in hashed.columns)
    if len(ids) != pc.count_distinct(ids).as_py():
        raise InputError("expected each item_id once among the vectors, got some of them twice")
    if len(ids) and dimension is None:
        first = vectors.select(F.size("vector").alias("size")).first()
        dimension = first.size if first else None
    path = folder / uuid4().hex
    path.mkdir()
    shared = SharedFolder(str(path), len(ids), dimension or 0)
    shared.number(numbered(ids.cast(pa.string()), hashes.to_numpy()))
    if not len(ids):
        return shared, Centre(np.zeros(0, dtype=np.float32), 0)
    shared.create("vectors", shared.dimension)
    shared.create("squares", 1)
    hashed = vectors.select("item_id", "vector", F.xxhash64("item_id").alias("hash"))
    written = hashed.mapInArrow(_write(shared), SUMS_SCHEMA)
    centre = centre_of(written.collect())
    if centre.n_items != len(ids):
        raise InputError(
            f"expected {len(ids)} vectors, got {centre.n_items}: the embeddings changed while they were read"
        )
    return shared, centre


def _write(shared: SharedFolder) -> ArrowFunction:
    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        known = shared.numbering()
        vectors = shared.matrix("vectors", shared.dimension, write=True)
        squares = shared.matrix("squares", 1, write=True)
        count, total = 0, np.zeros(shared.dimension)
        for batch in batches:
            if batch.num_rows == 0:
                continue
            matrix = vectors_to_matrix(batch.column("vector"))
            if matrix.shape[1] != shared.dimension:
                raise InputError(
                    f"expected vectors of one length, got {shared.dimension} and {matrix.shape[1]}: "
                    "encode all items with one encoder"
                )
            numbers = known.of(batch.column("item_id"), batch.column("hash").to_numpy())
            if numbers.min() < 0:
                raise InputError(
                    "expected the items of before, got another: the embeddings changed meanwhile"
                )
            vectors[numbers] = matrix
            squares[numbers, 0] = checked_squares(matrix)
            total += unit_rows(matrix).sum(axis=0, dtype=np.float64)
            count += len(matrix)
        if count:
            yield sums_batch(count, total)

    return write


def over_rows(spark: SparkSession, parts: int, function: ArrowFunction, schema: StructType) -> DataFrame:
    """`function` in `parts` tasks, each of which is handed its number (column `id`)."""
    return spark.range(0, parts, 1, parts).mapInArrow(function, schema)


def part_of(batches: Iterator[pa.RecordBatch]) -> int:
    """The number of the task that `over_rows` started.

    The input is read to its end: a Python worker that leaves some of it is thrown away, with all that it has imported.
    """
    [number] = [batch.column(0)[0].as_py() for batch in batches if batch.num_rows]
    return int(number)


def run_of(total: int, part: int, parts: int) -> slice:
    """The share of `total` rows that falls to one of `parts` tasks."""
    return slice(total * part // parts, total * (part + 1) // parts)


def evenly(numbers: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    """`numbers` cut into as few even pieces of at most `most` as do."""
    return np.array_split(numbers, max(1, -(-len(numbers) // most)))
