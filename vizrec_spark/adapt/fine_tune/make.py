"""From labelled pictures to a fine-tuned encoder in the tables, or to the one that was made of the same before."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from vizrec_spark.adapt.encoders import KerasFile
from vizrec_spark.adapt.fine_tune.pixels import contents_of, spool_pixels
from vizrec_spark.adapt.fine_tune.train import FineTuned, Lesson, fine_tune
from vizrec_spark.adapt.spool import Features
from vizrec_spark.adapt.task import Task
from vizrec_spark.config.models import AdaptConfig
from vizrec_spark.errors import LabelError
from vizrec_spark.kernels.adapted import tuned_id
from vizrec_spark.kernels.keras_import import import_keras
from vizrec_spark.stage import StageContext, log
from vizrec_spark.tables import Written
from vizrec_spark.tables.fine_tuned import Made, made_from, register_file
from vizrec_spark.tables.schemas import ENCODER_FILES, FINE_TUNED_ENCODERS

_VERSION = 1  # another where the same input shall give another encoder

_HOW_IT_RUNS = {"checkpoint"}


@dataclass(frozen=True)
class Labelled:
    """n labelled pictures: sha256 (n,), the vectors of the encoder as it is, truth (n, classes), part (n,)."""

    sha256: pa.StringArray
    features: Features
    truth: NDArray[np.bool_]
    part: NDArray[np.str_]


@dataclass(frozen=True)
class Result:
    """encoder_id: the fine-tuned encoder; None where no epoch was better than the encoder as it is."""

    encoder_id: str | None
    written: Sequence[Written]
    told: str


def make(
    context: StageContext, source: KerasFile, pictures: Labelled, task: Task, images: DataFrame, scratch: Path
) -> Result:
    """Fine-tunes the encoder `source` on the pictures of part ``train``; those of ``validation`` choose the epoch.

    images: item_id, path, sha256, content. What was made of the same pictures, labels, parts, settings and encoder is
    taken from the tables. A run that was killed goes on from its checkpoint.
    """
    tables, config = context.tables, context.config.adapt
    fingerprint = _fingerprint(source, pictures, task, config)
    known = made_from(tables, fingerprint)
    unchanged = [tables.unchanged(table) for table in (ENCODER_FILES, FINE_TUNED_ENCODERS)]
    if known is not None:
        return Result(known.encoder_id, unchanged, f"{known.encoder_id} was fine-tuned by an earlier run")
    folder = Path(config.fine_tune.checkpoint) / fingerprint[:16]
    tuned = _tuned(context, source, pictures, task, images, scratch, folder)
    if tuned is None:
        told = "fine-tuning has not lowered the log-loss on validation pictures: the encoder stays as it is"
        return Result(None, unchanged, told)
    weights = import_keras().saving.load_model(tuned.path, compile=False, safe_mode=True).get_weights()
    made = Made(
        tuned_id(source.encoder_id, config.name, weights),
        fingerprint,
        config.name,
        source.encoder_id,
        source.input_size,
        source.dimension,
        task.classes,
        tuned.blocks,
        tuned.precision,
        tuned.epochs,
        tuned.before,
        tuned.after,
        config.fine_tune.model_dump_json(),
    )
    written = register_file(tables, context.spark, made, tuned.path)
    shutil.rmtree(folder)
    told = (
        f"{made.encoder_id}: {', '.join(tuned.blocks)} of {source.encoder_id} fine-tuned in {tuned.epochs} epochs; "
        f"log-loss on validation pictures {tuned.before:.4f} before, {tuned.after:.4f} after"
    )
    return Result(made.encoder_id, written, told)


def _tuned(
    context: StageContext, source: KerasFile, pictures: Labelled, task: Task, images: DataFrame, scratch: Path,
    folder: Path,
) -> FineTuned | None:  # fmt: skip
    config = context.config.adapt
    wanted = np.isin(pictures.part, ("train", "validation"))
    contents = contents_of(images, pictures.sha256.filter(pa.array(wanted)))
    pixels, there = spool_pixels(
        contents,
        pictures.sha256,
        source.input_size,
        max_pixels=context.config.ingest.images.max_pixels,
        threads=os.cpu_count() or 1,
        file=scratch / "pixels.u8",
    )
    if not there[wanted].all():
        log.warning(
            "adapt: %s pictures cannot be decoded and are left out", f"{int((~there[wanted]).sum()):,}"
        )
    early, held = (np.flatnonzero(there & (pictures.part == name)) for name in ("train", "validation"))
    if not len(early) or not len(held):
        raise LabelError("fine-tuning needs pictures to learn from and to choose on that can be decoded.")
    lesson = Lesson(pixels, pictures.features.raw, pictures.truth, task.kind, early, held)
    return fine_tune(source.path, lesson, config.fine_tune, config.seed, folder)


def _fingerprint(source: KerasFile, pictures: Labelled, task: Task, config: AdaptConfig) -> str:
    """SHA-256 of all that decides what is learned."""
    digest = hashlib.sha256()
    facts = {
        "version": _VERSION,
        "keras": version("keras"),
        "encoder": source.encoder_id,
        "kind": task.kind,
        "classes": task.classes,
        "seed": config.seed,
        "name": config.name,
        "settings": config.fine_tune.model_dump(mode="json", exclude=_HOW_IT_RUNS),
    }
    digest.update(json.dumps(facts, sort_keys=True).encode())
    for name, part in zip(pictures.sha256.to_pylist(), pictures.part.tolist(), strict=True):
        if part in ("train", "validation"):
            digest.update(f"{name} {part}".encode())
    digest.update(np.packbits(pictures.truth).tobytes())
    return digest.hexdigest()
