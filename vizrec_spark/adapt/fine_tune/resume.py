"""What a fine-tuning leaves on disk, so that it goes on after a kill as if it had not been stopped."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vizrec_spark.adapt.fine_tune.batches import Clock
from vizrec_spark.kernels.keras_import import import_keras

MONITORED = "val_log_loss"

_DRAWS = 1_000_003  # numbers that an epoch may take from a generator before it comes to those of the next


@dataclass(frozen=True)
class Standing:
    """The least loss so far, after how many epochs (0: before the first), and the epochs since then."""

    best: float
    epochs: int
    wait: int

    @classmethod
    def of(cls, start: float, losses: Sequence[float]) -> Standing:
        """start: the loss before the first epoch; losses: those after each epoch."""
        found = cls(start, 0, 0)
        for epoch, loss in enumerate(losses, 1):
            found = (
                cls(loss, epoch, 0) if loss < found.best else cls(found.best, found.epochs, found.wait + 1)
            )
        return found


class Checkpoint:
    """A folder with Keras' backup of the last epoch, the weights of the best one, and the losses of all."""

    def __init__(self, folder: Path) -> None:
        self.best = folder / "best.weights.h5"
        self._backup, self._history = folder / "backup", folder / "history.csv"
        self._start = folder / "start.json"
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> float | None:
        """The loss before the first epoch, where the folder has a later one; else all begins anew."""
        return float(json.loads(self._start.read_text())[MONITORED]) if self.losses() else None

    def begin(self, start: float) -> None:
        """Notes the loss before the first epoch."""
        self._start.write_text(json.dumps({MONITORED: start}))

    def losses(self) -> list[float]:
        """Losses on validation pictures of the epochs that the backup has; what is written of later ones is forgotten,
        for they come again."""
        try:
            done = int(json.loads((self._backup / "training_metadata.json").read_text())["epoch"])
            with self._history.open(newline="") as stream:
                rows = list(csv.DictReader(stream))[:done]
        except (OSError, ValueError, KeyError):
            return []
        return [_number(row[MONITORED]) for row in rows]

    def callbacks(self, start: float, patience: int) -> list[Any]:
        """Keras' callbacks for a training whose loss was `start` before the first epoch: they go on where the folder
        says, stop early, and keep the best weights in `best` if any are better than `start`."""
        keras = import_keras()
        losses = self.losses()
        self._forget_after(len(losses))
        standing = Standing.of(start, losses)

        best = keras.callbacks.ModelCheckpoint(
            self.best,
            monitor=MONITORED,
            mode="min",
            save_best_only=True,
            save_weights_only=True,
            initial_value_threshold=standing.best,
        )
        backup = keras.callbacks.BackupAndRestore(
            str(self._backup), double_checkpoint=True, delete_checkpoint=False
        )
        return [
            keras.callbacks.TerminateOnNaN(),
            keras.callbacks.CSVLogger(str(self._history), append=True),
            best,
            _stops_early(keras, standing, patience),
            backup,  # last: an epoch counts when all of it has been written
        ]

    def _forget_after(self, epochs: int) -> None:
        if not self._history.is_file():
            return
        lines = self._history.read_text().splitlines(keepends=True)
        if epochs:
            self._history.write_text("".join(lines[: epochs + 1]))
        else:
            self._history.unlink()


def _stops_early(keras: Any, standing: Standing, patience: int) -> Any:
    class StopsEarly(keras.callbacks.EarlyStopping):
        """Knows of the epochs before a kill, too."""

        def on_train_begin(self, logs: Any = None) -> None:
            super().on_train_begin(logs)
            self.best, self.wait = standing.best, standing.wait

    return StopsEarly(MONITORED, mode="min", patience=patience)


def reseed(model: Any, clock: Clock) -> None:
    """Sets all random generators of `model` to where they are at the beginning of an epoch, whatever came before."""
    states = [variable for variable in model.variables if variable.name == "seed_generator_state"]
    for number, state in enumerate(states):
        state.assign(np.array([clock.seed + number, clock.epoch * _DRAWS % 2**31]))


def _number(text: str) -> float:
    return float(text) if text else math.nan
