"""A tiny encoder and pictures of three patterns for tests of fine-tuning; run as a program, a training to be killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.adapt.fine_tune.train import FineTuned, Lesson, fine_tune
from vizrec_spark.config.models import AugmentConfig, FineTuneConfig
from vizrec_spark.kernels.adapted import Kind
from vizrec_spark.kernels.keras_import import import_keras

SIDE = 32
SETTINGS = FineTuneConfig(
    epochs=4,
    batch_size=8,
    learning_rate=0.01,
    blocks=2,
    augment=AugmentConfig(rotate=0.0, zoom=0.0, contrast=0.0),
)


def features(seed: int = 1) -> Any:
    """Three convolutional blocks on scaled pixels, 8 numbers a picture, with weights of no use."""
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((SIDE, SIDE, 3), name="scaled")
    for number in (1, 2, 3):
        x = keras.layers.Conv2D(
            8, 3, 2, padding="same", use_bias=False, activation=None, name=f"block{number}_conv"
        )(x)
        x = keras.layers.BatchNormalization(name=f"block{number}_bn")(x)
        x = keras.layers.ReLU(name=f"block{number}_relu")(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="pooled")(x), name="tiny")


def encoder_file(path: Path) -> Path:
    """The tiny encoder as `build_encoder` makes them: from pixels of 0..255, scaling included."""
    keras = import_keras()
    pixels = keras.Input((SIDE, SIDE, 3), dtype="float32", name="rgb")
    scaled = keras.layers.Rescaling(1 / 127.5, -1.0, name="preprocessing")(pixels)
    keras.Model(pixels, features()(scaled), name="encoder").save(path)
    return path


def patterned(number: int) -> NDArray[np.uint8]:
    """A noisy picture (SIDE, SIDE, 3) of pattern `number` % 3: checks, columns or rows, 8 pixels wide."""
    down, across = np.indices((SIDE, SIDE)) // 8 % 2
    drawn = ((down + across) % 2, across, down)[number % 3]
    noise = np.random.default_rng(number).integers(0, 156, (SIDE, SIDE, 3))
    return np.asarray(100 * drawn[:, :, None] + noise, np.uint8)


def lesson(source: Path, kind: Kind = "multi_class", n: int = 72) -> Lesson:
    """`n` pictures, two thirds to learn from; with kind multi_label the first also has the last label."""
    pixels = np.stack([patterned(number) for number in range(n)])
    truth = np.eye(3, dtype=bool)[np.arange(n) % 3]
    if kind == "multi_label":
        truth[:, 2] |= truth[:, 0]
    encoder = import_keras().saving.load_model(source, compile=False)
    vectors = np.asarray(encoder(pixels.astype(np.float32)))
    return Lesson(pixels, vectors, truth, kind, np.arange(0, 2 * n // 3), np.arange(2 * n // 3, n))


def learn(source: Path, folder: Path, more: tuple[Any, ...] = ()) -> FineTuned:
    """The training that a test compares with itself."""
    found = fine_tune(source, lesson(source), SETTINGS, 7, folder, more=more)
    assert found.path is not None
    return found


def main(source: str, folder: str) -> None:
    """Trains, says so in the middle of the third epoch, and waits there for its end."""
    keras = import_keras()
    epoch = -1

    def begin(number: int, _: Any) -> None:
        nonlocal epoch
        epoch = number

    def wait(batch: int, logs: Any) -> None:
        if (epoch, batch) == (2, 1):
            print("in the middle", flush=True)
            time.sleep(600)

    learn(
        Path(source),
        Path(folder),
        (keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_train_batch_end=wait),),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
