"""What a fine-tuning keeps of each epoch: whole or not at all, wherever it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vizrec_spark.adapt.fine_tune import resume
from vizrec_spark.adapt.fine_tune.resume import Checkpoint, Standing
from vizrec_spark.adapt.fine_tune.train import _compile, _ended
from vizrec_spark.config.models import FineTuneConfig
from vizrec_spark.kernels.keras_import import import_keras

EPOCHS = 2
CONFIG = FineTuneConfig(epochs=EPOCHS, patience=3)
Weights = list[NDArray[Any]]


class Stopped(BaseException):
    """A kill, as far as the disk can tell."""


def train(folder: Path, precision: str = "float32") -> tuple[list[float], Weights, Weights]:
    """The losses, the last weights and the best ones of a tiny training, or of what is left of it."""
    keras = import_keras()
    random = np.random.default_rng(1)
    x = random.normal(size=(32, 4)).astype(np.float32)
    y = np.eye(3, dtype=np.float32)[random.integers(0, 3, 32)]
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    # So fast that the second epoch is worse than the first.
    _compile(model, 0.9, CONFIG, "multi_class", precision)
    checkpoint = Checkpoint(folder)
    checkpoint.restore(model)
    data = {"x": x, "y": y, "batch_size": 8, "validation_data": (x[:9], y[:9]), "shuffle": False}
    began, callbacks = len(checkpoint.losses()), checkpoint.callbacks(9.0, CONFIG.patience)
    model.fit(**data, initial_epoch=began, epochs=EPOCHS, callbacks=callbacks, verbose=0)
    last = model.get_weights()
    model.load_weights(checkpoint.best)
    return checkpoint.losses(), last, model.get_weights()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[float], Weights, Weights]:
    losses, last, best = train(tmp_path_factory.mktemp("whole"))
    assert len(losses) == EPOCHS and Standing.of(9.0, losses).epochs == 1, losses
    return losses, last, best


def require_same(
    found: tuple[list[float], Weights, Weights], wanted: tuple[list[float], Weights, Weights]
) -> None:
    assert found[0] == wanted[0]
    for mine, theirs in zip(found[1] + found[2], wanted[1] + wanted[2], strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("step", ["_save", "_same", "_write_state", "_to_disk", "_rename", "_drop"])
def test_stopped_before_any_step_of_saving_it_ends_as_if_undisturbed(
    undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, epoch: int
) -> None:
    does: Callable[..., None] = getattr(resume, step)

    def stopped(*given: Any) -> None:
        # The second epoch's saving drops what the first has left.
        if step == "_drop" or epoch == 1 or (tmp_path / "epoch-1").exists():
            raise Stopped
        does(*given)

    monkeypatch.setattr(resume, step, stopped)
    with pytest.raises(Stopped):
        train(tmp_path)
    monkeypatch.undo()
    last = 2 if step == "_drop" else epoch - 1
    assert len(Checkpoint(tmp_path).losses()) == last
    require_same(train(tmp_path), undisturbed)
    assert [file.name for file in tmp_path.iterdir()] == [f"epoch-{EPOCHS}"]


@pytest.mark.parametrize("torn", ["latest.weights.h5", "losses.json"])
def test_half_a_file_of_an_epoch_that_was_not_whole_is_no_hindrance(
    undisturbed: Any, tmp_path: Path, torn: str
) -> None:
    left = tmp_path / "new-1"
    left.mkdir()
    (left / torn).write_bytes(b"")
    require_same(train(tmp_path), undisturbed)


def test_float16_is_learned_with_a_scaled_loss_that_goes_on_too(tmp_path: Path) -> None:
    keras = import_keras()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    _compile(model, 0.1, CONFIG, "multi_class", "float16")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert isinstance(model.optimizer.inner_optimizer, keras.optimizers.AdamW)
    for precision in ("float32", "bfloat16"):
        _compile(model, 0.1, CONFIG, "multi_class", precision)
        assert isinstance(model.optimizer, keras.optimizers.AdamW)
    whole = train(tmp_path / "whole", "float16")

    def stopped(*_: Any) -> None:
        raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume, "_drop", stopped)
        with pytest.raises(Stopped):
            train(tmp_path / "again", "float16")
    require_same(train(tmp_path / "again", "float16"), whole)


def test_it_ends_early_where_keras_would() -> None:
    hasty = FineTuneConfig(epochs=9, patience=1)
    assert not _ended(1.0, [1.2], hasty)  # Keras never stops after the first epoch
    assert _ended(1.0, [1.2, 1.1], hasty) and not _ended(1.0, [1.2, 0.9], hasty)


def test_what_gained_nothing_keeps_its_losses_alone(tmp_path: Path) -> None:
    train(tmp_path)
    checkpoint = Checkpoint(tmp_path)
    assert not checkpoint.gave_nothing()
    checkpoint.keep_losses_alone()
    again = Checkpoint(tmp_path)
    assert again.gave_nothing() and again.losses() == checkpoint.losses()
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.*")) < 1000
