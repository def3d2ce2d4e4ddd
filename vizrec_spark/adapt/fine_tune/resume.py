"""What a fine-tuning leaves on disk, so that it goes on after a kill as if it had not been stopped."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vizrec_spark.adapt.fine_tune.batches import Clock
from vizrec_spark.kernels.keras_import import import_keras

MONITORED = "val_log_loss"

_NEW, _WHOLE = "new-", "epoch-"
_LATEST, _BEST, _STATE = "latest.weights.h5", "best.weights.h5", "losses.json"
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
    """A folder with all that a training goes on from after its last whole epoch, n: ``epoch-<n>`` in it has the weights
    with the optimizer's, those of the best epoch, and the losses. It is made under another name and renamed, so that it
    is there whole or not at all, wherever a run is killed; the one before goes after that."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._start: float | None = None
        self._losses: list[float] = []
        self._at = self._last_whole()

    @property
    def best(self) -> Path:
        """Weights of the best epoch, where one is better than the start."""
        return self._in(len(self._losses)) / _BEST

    def start(self) -> float | None:
        """The loss before the first epoch, where the folder has a later one; else all begins anew."""
        return self._start

    def losses(self) -> list[float]:
        """Losses on validation pictures of the whole epochs."""
        return list(self._losses)

    def restore(self, model: Any) -> None:
        """Gives a compiled model and its optimizer the weights of the last whole epoch, if there is one."""
        if self._at is not None:
            model.optimizer.build(model.trainable_variables)
            model.load_weights(self._at / _LATEST)

    def callbacks(self, start: float, patience: int) -> list[Any]:
        """Keras' callbacks for a training whose loss was `start` before the first epoch: they stop early, and keep each
        epoch. `fit` must be told to begin with epoch ``len(losses())``."""
        keras = import_keras()
        return [
            keras.callbacks.TerminateOnNaN(),
            _stops_early(keras, Standing.of(start, self._losses), patience),
            # Last: an epoch counts when all of it has been written.
            _keeps(keras, self, start),
        ]

    def keep(self, model: Any, start: float, loss: float) -> None:
        """Keeps an epoch that has come to its end: its loss, and the model's weights as they are now."""
        losses = [*self._losses, loss]
        standing = Standing.of(start, losses)
        new = self._folder / f"{_NEW}{len(losses)}"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        _save(model, new / _LATEST)
        if standing.epochs == len(losses):
            _same(new / _LATEST, new / _BEST)
        elif standing.epochs:
            _same(self.best, new / _BEST)
        _write_state(new / _STATE, start, losses)
        for file in new.iterdir():
            _to_disk(file)
        before, whole = self._at, self._in(len(losses))
        _rename(new, whole)
        self._start, self._losses, self._at = start, losses, whole
        if before is not None:
            _drop(before)

    def gave_nothing(self) -> bool:
        """Whether `keep_losses_alone` was called."""
        return self._at is not None and not (self._at / _LATEST).is_file()

    def keep_losses_alone(self) -> None:
        """Removes the weights of a training that has ended and has gained nothing; its losses say so to later runs."""
        if self._at is not None:
            for name in (_LATEST, _BEST):
                (self._at / name).unlink(missing_ok=True)

    def _in(self, epochs: int) -> Path:
        return self._folder / f"{_WHOLE}{epochs}"

    def _last_whole(self) -> Path | None:
        """The last epoch that is whole, whose losses are read; what else is there was left by a kill, and goes."""
        for left in self._folder.glob(f"{_NEW}*"):
            shutil.rmtree(left, ignore_errors=True)
        found = sorted(
            self._folder.glob(f"{_WHOLE}*"), key=lambda folder: int(folder.name.removeprefix(_WHOLE))
        )
        if not found:
            return None
        for older in found[:-1]:
            _drop(older)
        state = json.loads((found[-1] / _STATE).read_text())
        self._start, self._losses = float(state["start"]), [float(loss) for loss in state["losses"]]
        return found[-1]


def _save(model: Any, file: Path) -> None:
    model.save_weights(file)


def _same(source: Path, target: Path) -> None:
    """A second name of a file, which nobody changes; a copy where the file system has no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write_state(file: Path, start: float, losses: Sequence[float]) -> None:
    file.write_text(json.dumps({"start": start, "losses": list(losses)}))


def _to_disk(path: Path) -> None:
    """Waits until the disk has what was written to `path`: a name must not come before what it names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _rename(new: Path, whole: Path) -> None:
    new.rename(whole)
    _to_disk(whole.parent)


def _drop(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _stops_early(keras: Any, standing: Standing, patience: int) -> Any:
    class StopsEarly(keras.callbacks.EarlyStopping):
        """Knows of the epochs before a kill, too."""

        def on_train_begin(self, logs: Any = None) -> None:
            super().on_train_begin(logs)
            self.best, self.wait = standing.best, standing.wait

    return StopsEarly(MONITORED, mode="min", patience=patience)


def _keeps(keras: Any, checkpoint: Checkpoint, start: float) -> Any:
    class Keeps(keras.callbacks.Callback):
        """Keeps each epoch."""

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            checkpoint.keep(self.model, start, float(logs[MONITORED]))

    return Keeps()


def reseed(model: Any, clock: Clock) -> None:
    """Sets all random generators of `model` to where they are at the beginning of an epoch, whatever came before."""
    states = [variable for variable in model.variables if variable.name == "seed_generator_state"]
    for number, state in enumerate(states):
        state.assign(np.array([clock.seed + number, clock.epoch * _DRAWS % 2**31]))
