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
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from vizrec_spark.adapt.encoders import KerasFile
from vizrec_spark.adapt.fine_tune.blocks import usable
from vizrec_spark.adapt.fine_tune.pixels import Placed, contents_of, spool_pixels
from vizrec_spark.adapt.fine_tune.train import FineTuned, Lesson, fine_tune, loaded
from vizrec_spark.adapt.spool import Features
from vizrec_spark.adapt.task import Task
from vizrec_spark.config.models import FineTuneConfig
from vizrec_spark.errors import LabelError
from vizrec_spark.kernels.adapted import tuned_id
from vizrec_spark.kernels.keras_import import import_keras
from vizrec_spark.scratch import claimed, remove_abandoned
from vizrec_spark.stage import StageContext, log
from vizrec_spark.tables import Written
from vizrec_spark.tables.fine_tuned import Made, made_from, register_file
from vizrec_spark.tables.schemas import ENCODER_FILES, FINE_TUNED_ENCODERS, FINE_TUNED_PICTURES

_VERSION = 1  # another where the same input shall give another encoder

_HOW_IT_RUNS = {"checkpoint"}


@dataclass(frozen=True)
class Labelled:
    """n labelled pictures: sha256 (n,), the vectors of the encoder as it is, truth (n, classes), part (n,); before:
    sha256, part of what that encoder has been fine-tuned on."""

    sha256: pa.StringArray
    features: Features
    truth: NDArray[np.bool_]
    part: NDArray[np.str_]
    before: pa.Table

    def learned(self) -> pa.Table:
        """sha256, part of what is learned from or chosen on, now or before; of two parts the one of now."""
        now = np.isin(self.part, ("train", "validation"))
        names = self.sha256.filter(pa.array(now))
        mine = pa.table({"sha256": names, "part": pa.array(self.part[now], pa.string())})
        others = pc.invert(pc.is_in(self.before["sha256"], value_set=names))
        return pa.concat_tables([mine, self.before.filter(others)])

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
        of_tables = (ENCODER_FILES, FINE_TUNED_PICTURES, FINE_TUNED_ENCODERS)
        unchanged = [tables.unchanged(table) for table in of_tables]
        if known is not None:
            self._tidy()
            return Result(known.encoder_id, unchanged, f"{known.encoder_id} was fine-tuned by an earlier run")
        tuned = self.train(settings)
        if tuned.path is None:
            with claimed(self._folder(settings)):  # says, in a few bytes, that it need not be tried again
                self._tidy()
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
        written = register_file(tables, self._context.spark, made, tuned.path, self._pictures.learned())
        self.forget(settings)
        self._tidy()
        told = (
            f"{made.encoder_id}: {', '.join(tuned.blocks)} of {source.encoder_id} fine-tuned in {tuned.epochs} epochs; "
            f"log-loss on validation pictures {tuned.before:.4f} before, {tuned.after:.4f} after"
        )
        return Result(made.encoder_id, written, told)

    def train(self, settings: FineTuneConfig, told: Callable[[float], None] = lambda _: None) -> FineTuned:
        """`train.fine_tune` of the encoder; what has come to its end and is not forgotten is not trained again."""
        folder, seed = self._folder(settings), self._config.seed
        folder.mkdir(parents=True, exist_ok=True)
        with claimed(folder):
            return fine_tune(self.source.path, self._lesson, settings, seed, folder, told=told)

    def usable_blocks(self, counts: Sequence[int], settings: FineTuneConfig) -> list[int]:
        """Those of `counts` that are so many last blocks of the encoder that something in them can learn."""
        return usable(loaded(self.source.path), counts, batch_norm=settings.batch_norm)

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
        parent = Path(self._config.fine_tune.checkpoint)
        return parent / f"{self._config.name}-{self.fingerprint(settings)[:16]}"

    def _tidy(self) -> None:
        """Removes the checkpoints of this name that no process of this host has in use: of other pictures, settings or
        trials, for which nobody comes back once an encoder is made."""
        for left in remove_abandoned(Path(self._config.fine_tune.checkpoint), f"{self._config.name}-*"):
            log.info("adapt: removed the checkpoint of an earlier training, %s", left)

    @cached_property
    def _lesson(self) -> Lesson:
        pictures = self._pictures
        wanted = np.isin(pictures.part, ("train", "validation"))
        names = pictures.sha256.filter(pa.array(wanted))
        pixels, found = spool_pixels(
            contents_of(self._images, names),
            names,
            self.source.input_size,
            max_pixels=self._context.config.ingest.images.max_pixels,
            threads=os.cpu_count() or 1,
            file=self._scratch / "pixels.u8",
        )
        there = np.zeros(len(wanted), bool)
        there[wanted] = found
        if lost := int((~there[wanted]).sum()):
            log.warning("adapt: %s pictures cannot be decoded and are left out", f"{lost:,}")
        early, held = (np.flatnonzero(there & (pictures.part == name)) for name in ("train", "validation"))
        if not len(early) or not len(held):
            raise LabelError("fine-tuning needs pictures to learn from and to choose on that can be decoded.")
        placed = Placed(pixels, np.where(wanted, np.cumsum(wanted) - 1, -1))
        return Lesson(placed, pictures.features.raw, pictures.truth, self._task.kind, early, held)
