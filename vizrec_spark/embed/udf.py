"""Apply an encoder file to a DataFrame of compressed pictures, in the Python workers of Spark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyspark import SparkFiles
from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.embed.runtime import TensorFlowRuntime, process_runtime
from vizrec_spark.errors import EncoderError, ImageRefused
from vizrec_spark.imaging import DEFAULT_MAX_PIXELS, load_rgb

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
    batch_size: int
    max_pixels: int
    input_size: tuple[int, int]
    threads: int


class _Refused(NamedTuple):
    sha256: str
    reason: str
    message: str


def ship_model(spark: SparkSession, path: Path) -> str:
    """Send the encoder file to every executor, present and future, and return the name it has there.

    The name holds the encoder id, so files of different encoders never meet under one name.
    """
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
    batch_size: int = 32,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    input_size: tuple[int, int],
    threads: int | None = None,
) -> DataFrame:
    """One row a picture: its vector, or why it has none.

    images: sha256 string, content binary (the compressed file).
    model_file: what `ship_model` returned, or a path that every worker can read.
    input_size: (height, width) of the encoder. threads: CPU threads of a worker; None: `task_threads`.

    Returns sha256 string, encoder_id string, vector array<float>?, reason string?, message string?: either the
    vector or the reason is null. Reasons are those of `vizrec_spark.imaging` and ``non_finite_vector``.
    The task fails with EncoderError when the encoder cannot be loaded or has another input size.
    Memory of a worker: the encoder, one Arrow batch (``spark.sql.execution.arrow.maxBytesPerBatch``), and
    `batch_size` decoded pictures.
    """
    job = _Job(
        model_file,
        encoder_id,
        batch_size,
        max_pixels,
        input_size,
        threads or task_threads(images.sparkSession),
    )
    return images.select("sha256", "content").mapInArrow(partial(_embed_partition, job), EMBEDDED_SCHEMA)


def _embed_partition(job: _Job, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    runtime: TensorFlowRuntime | None = None
    for names, pixels, refused in _decoded(job, batches):
        if names and runtime is None:  # an empty partition costs no TensorFlow
            runtime = _runtime(job)
        vectors = runtime.encode(pixels) if names and runtime is not None else np.empty((0, 0), np.float32)
        yield _rows(job.encoder_id, names, vectors, refused)


def _decoded(
    job: _Job, batches: Iterable[pa.RecordBatch]
) -> Iterator[tuple[list[str], np.ndarray, list[_Refused]]]:
    """Model batches out of Arrow batches: names and pixels of what decoded, and what did not."""
    pixels = np.empty((job.batch_size, *job.input_size, 3), dtype=np.uint8)
    names: list[str] = []
    refused: list[_Refused] = []
    for batch in batches:
        for sha256, content in zip(batch.column(0), batch.column(1), strict=True):
            try:
                # One picture at a time leaves Arrow: the batch as Python bytes would be there twice.
                pixels[len(names)] = load_rgb(
                    content.as_py() or b"", job.input_size, max_pixels=job.max_pixels
                )
                names.append(sha256.as_py())
            except ImageRefused as error:
                refused.append(_Refused(sha256.as_py(), error.reason, error.message))
            if len(names) == job.batch_size or len(refused) >= job.batch_size:
                yield names, pixels[: len(names)], refused
                names, refused = [], []
    if names or refused:
        yield names, pixels[: len(names)], refused


def _runtime(job: _Job) -> TensorFlowRuntime:
    shipped = Path(SparkFiles.get(job.model_file))
    path = shipped if shipped.is_file() else Path(job.model_file)
    runtime = process_runtime(path, job.encoder_id, job.batch_size, job.threads)
    if runtime.input_size != job.input_size:
        raise EncoderError(
            f"encoder {job.encoder_id} takes pictures of {runtime.input_size}, asked for {job.input_size}."
        )
    return runtime


def _rows(encoder_id: str, names: list[str], vectors: np.ndarray, refused: list[_Refused]) -> pa.RecordBatch:
    finite = np.isfinite(vectors).all(axis=1)
    values: list[np.ndarray | None] = [v if ok else None for v, ok in zip(vectors, finite, strict=True)]
    reasons: list[tuple[str | None, str | None]] = [(None, None) if ok else _NON_FINITE for ok in finite]
    reasons += [(r.reason, r.message) for r in refused]
    all_names = names + [r.sha256 for r in refused]
    return pa.RecordBatch.from_arrays(
        [
            pa.array(all_names, pa.string()),
            pa.array([encoder_id] * len(all_names), pa.string()),
            pa.array(values + [None] * len(refused), _ARROW.field("vector").type),
            pa.array([r for r, _ in reasons], pa.string()),
            pa.array([m for _, m in reasons], pa.string()),
        ],
        schema=_ARROW,
    )
