"""Apply an encoder file to a DataFrame of compressed pictures, in the Python workers of Spark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark import SparkFiles
from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.embed.choice import Precision, RuntimeName
from vizrec_spark.embed.prefetch import ahead
from vizrec_spark.embed.runtime import process_runtime
from vizrec_spark.embed.runtimes import Runtime
from vizrec_spark.errors import EncoderError, ImageRefused
from vizrec_spark.imaging import DEFAULT_MAX_PIXELS, load_rgb

_ROWS_OUT = 256  # rows of an Arrow batch that goes back

NON_FINITE_VECTOR = "non_finite_vector"

_NON_FINITE = (NON_FINITE_VECTOR, "the encoder gave NaN or infinity for this picture")

EMBEDDED_SCHEMA = "sha256 string, encoder_id string, vector array<float>, reason string, message string"

_ARROW = pa.schema(
    [
        ("sha256", pa.string()),
        ("encoder_id", pa.string()),
        ("vector", pa.list_(pa.float32())),
        ("reason", pa.string()),
        ("message", pa.string()),
    ]
)


class _Job(NamedTuple):
    """What each worker has to know; the model itself travels as a file."""

    model_file: str
    encoder_id: str
    runtime: RuntimeName
    precision: Precision
    batch_size: int | None
    max_pixels: int
    input_size: tuple[int, int]
    threads: int


class _Compressed(NamedTuple):
    sha256: str
    content: bytes


class _Decoded(NamedTuple):
    sha256: str
    pixels: npt.NDArray[np.uint8]


class _Batch(NamedTuple):
    names: list[str]
    pixels: npt.NDArray[np.uint8]


class _Refused(NamedTuple):
    sha256: str
    reason: str
    message: str


def ship_model(spark: SparkSession, path: Path) -> str:
    """Send the encoder file to every executor, present and future, and return the name it has there.

    The name holds the encoder id, so a file of that name that was sent before does the same. Spark would refuse a
    second one whose bytes differ, and a file that is built again differs by its time stamps.
    """
    if not Path(SparkFiles.get(path.name)).is_file():
        spark.sparkContext.addFile(str(path))
    return path.name


def task_threads(spark: SparkSession) -> int:
    """CPU threads that Spark grants a task (``spark.task.cpus``): executor cores / concurrent tasks."""
    return int(spark.sparkContext.getConf().get("spark.task.cpus", "1") or 1)


def embed_images(
    images: DataFrame,
    model_file: str,
    encoder_id: str,
    *,
    batch_size: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    input_size: tuple[int, int],
    threads: int | None = None,
    runtime: RuntimeName = "tensorflow",
    precision: Precision = "float32",
) -> DataFrame:
    """One row a picture: its vector, or why it has none.

    images: sha256 string, content binary (the compressed file).
    model_file: what `ship_model` returned, or a path that every worker can read, in the form that `runtime` takes.
    input_size: (height, width) of the encoder. threads: CPU threads of a worker; None: `task_threads`.
    batch_size: pictures a model call; None: chosen by the runtime. Arrow batches have a size of their own.

    Returns sha256 string, encoder_id string, vector array<float>?, reason string?, message string?: either the
    vector or the reason is null. Reasons are those of `vizrec_spark.imaging` and ``non_finite_vector``.
    The task fails with EncoderError when the encoder cannot be loaded or has another input size.
    Memory of a worker: the encoder, one Arrow batch (``spark.sql.execution.arrow.maxBytesPerBatch``), a batch of
    decoded pictures, `AHEAD_BYTES` of pictures that wait, and one picture at full size for each decoding thread.
    """
    job = _Job(
        model_file,
        encoder_id,
        runtime,
        precision,
        batch_size,
        max_pixels,
        input_size,
        threads or task_threads(images.sparkSession),
    )
    return images.select("sha256", "content").mapInArrow(partial(_embed_partition, job), EMBEDDED_SCHEMA)


def _embed_partition(job: _Job, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    pictures = _pictures(batches)
    first = next(pictures, None)
    if first is None:  # an empty partition costs no model
        return
    runtime = _runtime(job)
    decoded = ahead(
        chain([first], pictures),
        partial(_decode, job),
        lambda picture: len(picture.content) + 3 * job.input_size[0] * job.input_size[1],
        # One thread also where the task has one core: it decodes while the model or the JVM keeps us waiting.
        threads=job.threads,
        most=2 * runtime.batch_size,
    )
    names: list[str] = []
    vectors: list[npt.NDArray[np.float32]] = []
    refused: list[_Refused] = []
    for batch in _model_batches(decoded, runtime):
        if isinstance(batch, _Refused):
            refused.append(batch)
        else:
            names += batch.names
            vectors.append(runtime.encode(batch.pixels))
        if len(names) + len(refused) >= _ROWS_OUT:
            yield _rows(job.encoder_id, names, vectors, refused)
            names, vectors, refused = [], [], []
    if names or refused:
        yield _rows(job.encoder_id, names, vectors, refused)


def _model_batches(decoded: Iterable[_Decoded | _Refused], runtime: Runtime) -> Iterator[_Batch | _Refused]:
    """Pictures in batches of the model's size, the last one smaller, in one array that is used again and again."""
    pixels = np.empty((runtime.batch_size, *runtime.input_size, 3), dtype=np.uint8)
    names: list[str] = []
    for picture in decoded:
        if isinstance(picture, _Refused):
            yield picture
            continue
        pixels[len(names)] = picture.pixels
        names.append(picture.sha256)
        if len(names) == runtime.batch_size:
            yield _Batch(names, pixels)
            names = []
    if names:
        yield _Batch(names, pixels[: len(names)])


def _pictures(batches: Iterable[pa.RecordBatch]) -> Iterator[_Compressed]:
    """The rows of Arrow batches; one picture at a time leaves Arrow, as the batch would be there twice otherwise."""
    for batch in batches:
        for sha256, content in zip(batch.column(0), batch.column(1), strict=True):
            yield _Compressed(sha256.as_py(), content.as_py() or b"")


def _decode(job: _Job, picture: _Compressed) -> _Decoded | _Refused:
    try:
        return _Decoded(picture.sha256, load_rgb(picture.content, job.input_size, max_pixels=job.max_pixels))
    except ImageRefused as error:
        return _Refused(picture.sha256, error.reason, error.message)


def _runtime(job: _Job) -> Runtime:
    shipped = Path(SparkFiles.get(job.model_file))
    path = shipped if shipped.is_file() else Path(job.model_file)
    runtime = process_runtime(
        path,
        job.encoder_id,
        name=job.runtime,
        precision=job.precision,
        batch_size=job.batch_size,
        threads=job.threads,
    )
    if runtime.input_size != job.input_size:
        raise EncoderError(
            f"encoder {job.encoder_id} takes pictures of {runtime.input_size}, asked for {job.input_size}."
        )
    return runtime


def _rows(
    encoder_id: str, names: list[str], encoded: list[npt.NDArray[np.float32]], refused: list[_Refused]
) -> pa.RecordBatch:
    vectors = np.concatenate(encoded) if encoded else np.empty((0, 0), dtype=np.float32)
    finite: npt.NDArray[np.bool_] = np.asarray(np.isfinite(vectors).all(axis=1))
    reasons: list[tuple[str | None, str | None]] = [(None, None) if ok else _NON_FINITE for ok in finite]
    reasons += [(r.reason, r.message) for r in refused]
    all_names = names + [r.sha256 for r in refused]
    lengths = np.zeros(len(all_names) + 1, dtype=np.int32)
    lengths[1 : len(names) + 1] = np.where(finite, vectors.shape[1], 0)
    absent = np.ones(len(all_names), dtype=bool)
    absent[: len(names)] = ~finite
    column = pa.ListArray.from_arrays(
        pa.array(np.cumsum(lengths, dtype=np.int32)),
        pa.array(vectors[finite].ravel()),
        type=_ARROW.field("vector").type,
        mask=pa.array(absent),
    )
    return pa.RecordBatch.from_arrays(
        [
            pa.array(all_names, pa.string()),
            pa.array([encoder_id] * len(all_names), pa.string()),
            column,
            pa.array([r for r, _ in reasons], pa.string()),
            pa.array([m for _, m in reasons], pa.string()),
        ],
        schema=_ARROW,
    )
