"""From labelled pictures to a fine-tuned encoder in the tables, or to the one that was made of the same before."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
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
from vizrec_spark.config.models import FineTuneConfig
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

    def fingerprint(self, task: Task) -> str:
        """SHA-256 of the task, and of names, parts and labels of the pictures that are learned from or chosen on."""
        digest = hashlib.sha256(json.dumps([task.kind, task.classes]).encode())
        learned = np.isin(self.part, ("train", "validation"))
        for name, part in zip(
            self.sha256.filter(pa.array(learned)).to_pylist(), self.part[learned], strict=True
        ):
            digest.update(f"{name} {part}".encode())
        digest.update(np.packbits(self.truth[learned]).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Result:
    """encoder_id: the fine-tuned encoder; None where no epoch was better than the encoder as it is."""

    encoder_id: str | None
    written: Sequence[Written]
    told: str


class Workshop:
    """Fine-tunes an encoder on labelled pictures, which are decoded once, when they are first needed.

    A training is known by the fingerprint of pictures, labels, parts, settings and encoder: its checkpoint, from which
    it goes on after a kill, and what comes of it.
    """

    def __init__(
        self, context: StageContext, source: KerasFile, pictures: Labelled, task: Task, images: DataFrame, scratch: Path
    ) -> None:  # fmt: skip
        """images: item_id, path, sha256, content; scratch: a folder for the pixels."""
        self.source = source
        self._context, self._pictures, self._task = context, pictures, task
        self._images, self._scratch = images, scratch
        self._config = context.config.adapt

    def make(self, settings: FineTuneConfig) -> Result:
        """Trains on the pictures of part ``train``, lets those of ``validation`` choose the epoch, and keeps what comes
        of it in the tables; or takes from them what was made of the same before."""
        tables, fingerprint = self._context.tables, self.fingerprint(settings)
        known = made_from(tables, fingerprint)
        unchanged = [tables.unchanged(table) for table in (ENCODER_FILES, FINE_TUNED_ENCODERS)]
        if known is not None:
            return Result(known.encoder_id, unchanged, f"{known.encoder_id} was fine-tuned by an earlier run")
        tuned = self.train(settings)
        if tuned.path is None:
            told = (
                "fine-tuning has not lowered the log-loss on validation pictures: the encoder stays as it is"
            )
            return Result(None, unchanged, told)
        source, name = self.source, self._config.name
        weights = import_keras().saving.load_model(tuned.path, compile=False, safe_mode=True).get_weights()
        made = Made(
            tuned_id(source.encoder_id, name, weights),
            fingerprint,
            name,
            source.encoder_id,
            source.input_size,
            source.dimension,
            self._task.classes,
            tuned.blocks,
            tuned.precision,
            tuned.epochs,
            tuned.before,
            tuned.after,
            settings.model_dump_json(),
        )
        written = register_file(tables, self._context.spark, made, tuned.path)
        self.forget(settings)
        told = (
            f"{made.encoder_id}: {', '.join(tuned.blocks)} of {source.encoder_id} fine-tuned in {tuned.epochs} epochs; "
            f"log-loss on validation pictures {tuned.before:.4f} before, {tuned.after:.4f} after"
        )
        return Result(made.encoder_id, written, told)

    def train(self, settings: FineTuneConfig, told: Callable[[float], None] = lambda _: None) -> FineTuned:
        """`train.fine_tune` of the encoder; what has come to its end and is not forgotten is not trained again."""
        folder, seed = self._folder(settings), self._config.seed
        return fine_tune(self.source.path, self._lesson, settings, seed, folder, told=told)

    def forget(self, settings: FineTuneConfig) -> None:
        """Removes the checkpoint of a training."""
        shutil.rmtree(self._folder(settings), ignore_errors=True)

    def fingerprint(self, settings: FineTuneConfig) -> str:
        """SHA-256 of all that decides what is learned."""
        digest = hashlib.sha256()
        facts = {
            "version": _VERSION,
            "keras": version("keras"),
            "encoder": self.source.encoder_id,
            "name": self._config.name,
            "seed": self._config.seed,
            "pictures": self._pictures.fingerprint(self._task),
            "settings": settings.model_dump(mode="json", exclude=_HOW_IT_RUNS),
        }
        digest.update(json.dumps(facts, sort_keys=True).encode())
        return digest.hexdigest()

    def _folder(self, settings: FineTuneConfig) -> Path:
        return Path(self._config.fine_tune.checkpoint) / self.fingerprint(settings)[:16]

    @cached_property
    def _lesson(self) -> Lesson:
        pictures = self._pictures
        wanted = np.isin(pictures.part, ("train", "validation"))
        pixels, there = spool_pixels(
            contents_of(self._images, pictures.sha256.filter(pa.array(wanted))),
            pictures.sha256,
            self.source.input_size,
            max_pixels=self._context.config.ingest.images.max_pixels,
            threads=os.cpu_count() or 1,
            file=self._scratch / "pixels.u8",
        )
        if lost := int((~there[wanted]).sum()):
            log.warning("adapt: %s pictures cannot be decoded and are left out", f"{lost:,}")
        early, held = (np.flatnonzero(there & (pictures.part == name)) for name in ("train", "validation"))
        if not len(early) or not len(held):
            raise LabelError("fine-tuning needs pictures to learn from and to choose on that can be decoded.")
        return Lesson(pixels, pictures.features.raw, pictures.truth, self._task.kind, early, held)
