"""Factors of all candidates in one file that every process of a machine maps into memory."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark import SparkFiles
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.errors import TableError
from vizrec_spark.kernels.sorted_texts import sorted_positions
from vizrec_spark.scratch import claimed, remove_abandoned

_PREFIX = "vizrec-factors-"
_PARTS = ("ends", "names", "factors", "eligible")


@dataclass(frozen=True)
class SharedFactors:
    """A name by which each process finds the candidates (`candidates`); small, and safe to send to any task."""

    file: str
    count: int
    rank: int


@dataclass(frozen=True)
class Candidates:
    """n candidates in ascending order of their ids, as views of a memory-mapped file.

    `ids` (n) large_string, `factors` (n, rank) float32, `eligible` (n,) bool, or None where all are.
    """

    ids: pa.Array
    factors: NDArray[np.float32]
    eligible: NDArray[np.bool_] | None

    def positions(self, ids: pa.Array) -> NDArray[np.int64]:
        """Where each of `ids` (string) stands, each distinct one looked for once; -1 for null and for strangers."""
        if len(ids) == 0:
            return np.zeros(0, dtype=np.int64)
        coded = pc.dictionary_encode(ids)
        found = sorted_positions(*_texts(coded.dictionary.cast(pa.large_string())), *_texts(self.ids))
        code = pc.fill_null(coded.indices, -1).to_numpy()
        return np.append(found, -1)[code]


def _texts(strings: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Bytes and bounds of large strings, as views."""
    _, ends, data = strings.buffers()
    bounds = np.frombuffer(ends, dtype=np.int64)[strings.offset : strings.offset + len(strings) + 1]
    return np.frombuffer(data or b"", dtype=np.uint8), bounds


def share_factors(
    factors: DataFrame, eligible: DataFrame | None = None, *, name: str = "item_id"
) -> SharedFactors:
    """Writes factors to a file and ships it to every machine of the cluster, once a machine.

    factors: `name` (string, each once) and `factors` (array<float>, equally long, finite). eligible: `name` of those
    that may be offered; None means all. Runs Spark jobs. The driver holds one partition at a time
    (`spark.sql.shuffle.partitions` of them), its disk and those of the executors n · (4 · rank + length of an id)
    bytes until the session ends; the same factors share one file.

    Raises: TableError when a column is missing, factors are null, not finite or not equally long, or an id is null or
    repeated.
    """
    require_columns(factors, name, "factors")
    spark = factors.sparkSession
    own = factors.select(F.col(name).alias("id"), F.col("factors").cast("array<float>"))
    if eligible is None:
        own = own.withColumn("eligible", F.lit(True))
    else:
        require_columns(eligible, name)
        may = eligible.select(F.col(name).alias("id"), F.lit(True).alias("eligible")).distinct()
        own = own.join(may, "id", "left").withColumn("eligible", F.coalesce("eligible", F.lit(False)))
    packed = own.sort("id").mapInArrow(_pack, "chunk binary")
    with tempfile.TemporaryDirectory(dir=_kept()) as scratch:
        writer = _Writer(Path(scratch))
        for row in packed.toLocalIterator():
            writer.add(pa.ipc.open_stream(row.chunk).read_all())
        file = writer.finish(_kept())
    # Machines that join the cluster later fetch the file from here.
    spark.sparkContext.addFile(str(file))
    return SharedFactors(file.name, writer.count, writer.rank)


def require_columns(frame: DataFrame, *names: str) -> None:
    """Raises: TableError naming the columns that `frame` lacks."""
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise TableError(
            f"Expected the columns {', '.join(names)}; {', '.join(missing)} not among {frame.columns}."
        )


def as_matrix(lists: pa.Array, rank: int, of: str) -> NDArray[np.float32]:
    """Factors (array<float>, `rank` long each) as (n, rank) float32.

    Raises: TableError when a list, or a number in it, is null, a number is not finite, or a list is of another length.
    """
    if lists.null_count or (pc.list_value_length(lists).to_numpy() != rank).any():
        raise TableError(
            f"Factors of {of}: expected {rank} numbers in each row (equally long, as those of one model are), found a "
            "row that is null or of another length."
        )
    flat = lists.flatten()
    values = flat.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    if flat.null_count or not np.isfinite(values).all():
        raise TableError(f"Factors of {of}: expected finite numbers, found null, NaN or infinity.")
    return np.ascontiguousarray(values.reshape(len(lists), rank))


@lru_cache(maxsize=1)
def _kept() -> Path:
    """A folder of this process, removed when it ends; the next process removes those of killed ones."""
    remove_abandoned(Path(tempfile.gettempdir()), f"{_PREFIX}*")
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    until_the_end = ExitStack()
    until_the_end.callback(shutil.rmtree, folder, ignore_errors=True)
    until_the_end.enter_context(claimed(folder))
    atexit.register(until_the_end.close)
    return folder


def _pack(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        yield pa.RecordBatch.from_arrays([pa.array([sink.getvalue().to_pybytes()])], ["chunk"])


class _Writer:
    """Chunks in order of their ids, laid one behind the other in raw files, and at the end in one Arrow file."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, BinaryIO] = {part: (folder / part).open("wb") for part in _PARTS}
        self._digests = {part: hashlib.sha256() for part in _PARTS}
        self._length, self._last, self._all = 0, "", True
        self.count, self.rank = 0, 0
        self._put("ends", np.zeros(1, dtype=np.int64))

    def add(self, chunk: pa.Table) -> None:
        """Takes in the rows that come next in the order of ids."""
        if chunk.num_rows == 0:
            return
        ids = chunk["id"].combine_chunks()
        self._refuse_repeated(ids)
        lists = chunk["factors"].combine_chunks()
        rank = self.rank if self.count else len(lists[0]) if lists[0].is_valid else 0
        values = as_matrix(lists, rank, "candidates")
        encoded = ids.cast(pa.large_binary())
        lengths = np.asarray(pc.binary_length(encoded).to_numpy(), dtype=np.int64)
        ends = self._length + np.cumsum(lengths)
        eligible = chunk["eligible"].to_numpy()
        self._put("ends", ends)
        self._put("names", np.frombuffer(b"".join(encoded.to_pylist()), dtype=np.uint8))
        self._put("factors", values)
        self._put("eligible", eligible.astype(np.bool_))
        self._length, self._last, self.rank = int(ends[-1]), ids[-1].as_py(), rank
        self._all = self._all and bool(eligible.all())
        self.count += len(ids)

    def _refuse_repeated(self, ids: pa.Array) -> None:
        again = pc.equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False).any() if len(ids) > 1 else False
        if ids.null_count or again or (self.count and ids[0].as_py() == self._last):
            raise TableError(
                "Factors to share: expected each id once and none empty, found one null or repeated."
            )

    def _put(self, part: str, values: NDArray[np.generic]) -> None:
        raw = np.ascontiguousarray(values).tobytes()
        # Each part by itself, so that the name does not depend on how the rows came in chunks.
        self._digests[part].update(raw)
        self._files[part].write(raw)

    def finish(self, folder: Path) -> Path:
        """The finished file, named by its content."""
        for file in self._files.values():
            file.close()
        whole = hashlib.sha256(b"".join(digest.digest() for digest in self._digests.values()))
        place = folder / f"{_PREFIX}{whole.hexdigest()[:24]}.arrow"
        parts = {part: _mapped(Path(file.name)) for part, file in self._files.items()}
        ids = pa.LargeStringArray.from_buffers(self.count, parts["ends"], parts["names"])
        flat = pa.Array.from_buffers(pa.float32(), self.count * self.rank, [None, parts["factors"]])
        bits = pa.Array.from_buffers(pa.uint8(), self.count, [None, parts["eligible"]])
        batch = pa.RecordBatch.from_arrays(
            [ids, pa.FixedSizeListArray.from_arrays(flat, max(self.rank, 1)), bits],
            ["id", "factors", "eligible"],
        ).replace_schema_metadata({"all_eligible": str(self._all)})
        new = place.with_suffix(f".{id(self)}")
        with pa.OSFile(str(new), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as file:
            file.write_batch(batch)
        return new.replace(place)


def _mapped(file: Path) -> pa.Buffer:
    return pa.memory_map(str(file)).read_buffer() if file.stat().st_size else pa.py_buffer(b"")


@lru_cache(maxsize=4)
def candidates(file: str) -> Candidates:
    """The shared candidates in this process; the pages are the machine's, not the process's."""
    batch = pa.ipc.open_file(pa.memory_map(SparkFiles.get(file))).get_batch(0)
    rank = batch.schema.field("factors").type.list_size
    factors = batch.column("factors").values.to_numpy().reshape(batch.num_rows, rank)
    everything = batch.schema.metadata[b"all_eligible"] == b"True"
    eligible = None if everything else batch.column("eligible").to_numpy().view(np.bool_)
    return Candidates(batch.column("id"), factors, eligible)
