"""Vectors and labels of an adapted encoder: from the stored vectors of its base, of what has none yet, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import Broadcast, StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.encoders import encoder_key, named_as
from vizrec_spark.errors import EncoderError
from vizrec_spark.kernels.adapted import Adapted, from_bytes, given, to_bytes
from vizrec_spark.kernels.vector_rows import vector_rows
from vizrec_spark.stage import StageContext, StageResult, log
from vizrec_spark.tables import Written
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.registry import Registered, serving
from vizrec_spark.tables.schemas import EMBEDDINGS, ENCODERS, IMAGE_LABELS

MOST_LABELS = 5
"""Labels of a picture that table `image_labels` has at least, if the encoder knows as many."""

ADAPTED_SCHEMA = (
    "sha256 string, vector array<float>, "
    "labels array<struct<label: string, probability: float, rank: int, given: boolean>>"
)
_LABEL = pa.struct(
    [("label", pa.string()), ("probability", pa.float32()), ("rank", pa.int32()), ("given", pa.bool_())]
)
_ROWS = 1024  # rows that are worked on at a time

_loaded: dict[str, Adapted] = {}


class _Job(NamedTuple):
    encoder_id: str
    weights: Broadcast[bytes]


def run_adapted(context: StageContext, encode: Callable[[StageContext], StageResult]) -> StageResult:
    """Brings the vectors of the version that serves up to date, and publishes it when they are whole.

    `encode` is the stage for a plain encoder: the base encodes the pictures that it has not seen. Then each vector of
    the base without an adapted one is put through what was learned, and nothing else is. Labels are committed first,
    vectors next and the row of `encoders` last: until then the version before is found, and its vectors stay.
    Raises: EncoderError when nothing is promoted, or the base encoder is no longer the same.
    """
    tables, config = context.tables, context.config.embed
    version = serving(tables, config.encoder)
    log.info("embed: %s version %d, %s", version.name, version.version, version.encoder_id)
    base = named_as(config, version.base)
    result = encode(replace(context, config=context.config.model_copy(update={"embed": base})))
    found = current_encoder(tables, base)
    if found != version.base_encoder_id:
        raise EncoderError(
            f"version {version.version} of {version.name} was learned on vectors of {version.base_encoder_id}, and the "
            f"same settings now make {found} (another release of Keras or of the weights, or another precision): run "
            "stage `adapt` again on the new vectors, or set embed.precision as it was."
        )
    embeddings = tables.pinned(EMBEDDINGS)
    vectors = embeddings.where(F.col("encoder_id") == found).select("sha256", "vector")
    if not config.reembed:
        done = embeddings.where(F.col("encoder_id") == version.encoder_id).select("sha256")
        vectors = vectors.join(done, "sha256", "left_anti")
    made = adapt_vectors(vectors, version).persist(StorageLevel.DISK_ONLY)
    try:
        mine = F.lit(version.encoder_id).alias("encoder_id")
        labels = made.select("sha256", mine, F.inline("labels"))
        within = {"encoder_id": version.encoder_id}
        write = tables.upsert if config.reembed else tables.insert_missing
        written = [
            tables.upsert(IMAGE_LABELS, labels, within),
            write(EMBEDDINGS, made.select("sha256", mine, "vector"), within),
            _published(context, version),
        ]
    finally:
        made.unpersist()
    told = f"{written[1].changed:,} vectors of {version.name} version {version.version} made from those of its base"
    metrics = {**result.metrics, "adapted_vectors": float(written[1].changed)}
    return StageResult([*result.written, *written], [*result.notes, told], metrics)


def adapt_vectors(vectors: DataFrame, version: Registered) -> DataFrame:
    """vectors: sha256 string, vector array<float> of the base. Returns `ADAPTED_SCHEMA`: the adapted vector, and of the
    labels the `MOST_LABELS` most probable and all that are given. What was learned is loaded once a Python worker.
    """
    weights = vectors.sparkSession.sparkContext.broadcast(to_bytes(version.adapted))
    job = _Job(version.encoder_id, weights)
    return vectors.select("sha256", "vector").mapInArrow(partial(_partition, job), ADAPTED_SCHEMA)


def _partition(job: _Job, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    adapted: Adapted | None = None
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS):
            if adapted is None:
                adapted = _of_process(job)
            piece = batch.slice(start, _ROWS)
            vectors, probabilities = adapted.apply(vector_rows(piece.column(1), adapted.inputs))
            yield pa.RecordBatch.from_arrays(
                [piece.column(0), _lists(vectors), _labels(adapted, probabilities)],
                names=["sha256", "vector", "labels"],
            )


def _of_process(job: _Job) -> Adapted:
    if job.encoder_id not in _loaded:
        _loaded.clear()  # one at a time: a worker lives longer than a job
        _loaded[job.encoder_id] = from_bytes(job.weights.value)
    return _loaded[job.encoder_id]


def _lists(vectors: NDArray[np.float32]) -> pa.ListArray:
    rows, width = vectors.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(vectors).ravel()))


def _labels(adapted: Adapted, probabilities: NDArray[np.float32]) -> pa.ListArray:
    gave = given(probabilities, adapted.kind)
    most = min(len(adapted.classes), max(MOST_LABELS, int(gave.sum(axis=1).max(initial=0))))
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :most]
    picked = np.take_along_axis(gave, order, axis=1)
    kept = picked | (np.arange(most) < MOST_LABELS)
    ranks = np.broadcast_to(np.arange(1, most + 1, dtype=np.int32), order.shape)
    names = pa.array(adapted.classes, pa.string()).take(pa.array(order[kept]))
    chances = pa.array(np.take_along_axis(probabilities, order, axis=1)[kept], pa.float32())
    values = pa.StructArray.from_arrays(
        [names, chances, pa.array(ranks[kept]), pa.array(picked[kept])], fields=list(_LABEL)
    )
    offsets = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _published(context: StageContext, version: Registered) -> Written:
    tables, config = context.tables, context.config.embed
    if current_encoder(tables, config) == version.encoder_id:
        return tables.unchanged(ENCODERS)
    row = (encoder_key(config), version.encoder_id, version.adapted.dimension)
    return tables.upsert(ENCODERS, context.spark.createDataFrame([row], ENCODERS.schema))
