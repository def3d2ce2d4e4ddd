"""Fine-tuning: the last blocks of an encoder and a layer of labels learn from pictures, in Keras."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.adapt.fine_tune.augment import augmentation
from vizrec_spark.adapt.fine_tune.batches import Clock, Rows, Source, in_order, shuffled
from vizrec_spark.adapt.fine_tune.blocks import free, train_last
from vizrec_spark.adapt.fine_tune.precision import chosen, compute_in
from vizrec_spark.adapt.fine_tune.resume import MONITORED, Checkpoint, Standing, reseed
from vizrec_spark.adapt.network import label_weights
from vizrec_spark.config.models import FineTuneConfig
from vizrec_spark.errors import EncoderError
from vizrec_spark.kernels.adapted import Floats, Kind
from vizrec_spark.kernels.keras_import import import_keras
from vizrec_spark.stage import log

_START_EPOCHS, _START_PATIENCE, _START_RATE = 20, 4, 0.005  # of the labels alone,
_START_STEPS, _START_BATCHES = 16, (4, 64)  # in at least so many steps an epoch, of batches between these
_LEAST_VARIANCE = 1e-12
_TOLD_S = 20.0


@dataclass(frozen=True)
class Lesson:
    """What is learned from, by row: pixels (n, height, width, 3) uint8, features (n, d) float32 of the encoder as it
    is, truth (n, classes); rows of which it learns, and of which the epochs are judged."""

    pixels: Source
    features: Floats
    truth: NDArray[np.bool_]
    kind: Kind
    early: Rows
    held: Rows


@dataclass(frozen=True)
class FineTuned:
    """The best epoch: the encoder as ``.keras`` file, how many epochs it took, the log-loss on the validation pictures
    before and after, the blocks that have learned, and the numbers in which they did. Where no epoch had a lower loss
    than the encoder as it was, there is no file, and `epochs` is 0."""

    path: Path | None
    epochs: int
    before: float
    after: float
    blocks: tuple[str, ...]
    precision: str


def fine_tune(
    source: Path, lesson: Lesson, config: FineTuneConfig, seed: int, folder: Path, *,
    told: Callable[[float], None] = lambda _: None, more: Sequence[Any] = (),
) -> FineTuned:  # fmt: skip
    """Fine-tunes the encoder in `source` on `lesson.early`; the log-loss on `lesson.held` chooses the epoch.

    First the labels learn alone, from stored features, so that the encoder's first steps are not blind (Kumar et al.
    2022, "Fine-Tuning can Distort Pretrained Features"). Then they and the last blocks, by AdamW at a rate that rises
    and falls along a cosine. All that is needed to go on after a kill is in `folder`, which must be of this lesson
    and these settings alone. told: gets the log-loss after each epoch, those before a kill included; more: further
    callbacks of Keras. Raises: EncoderError for a file that is no encoder, or more
    blocks than it has.
    """
    keras = import_keras()
    precision = chosen(config.precision)
    keras.utils.set_random_seed(seed)
    encoder = loaded(source)
    blocks = train_last(encoder, config.blocks, batch_norm=config.batch_norm)
    checkpoint, clock = Checkpoint(folder), Clock(seed)
    labels = _labels(lesson, config)
    model = _model(encoder, labels, config, seed)
    before, losses = checkpoint.start(), checkpoint.losses()
    for loss in losses:
        told(loss)
    if before is None or not (checkpoint.gave_nothing() or _ended(before, losses, config)):
        weights = label_weights(lesson.truth[lesson.early], even=config.class_weights)
        batches = shuffled(lesson.pixels, lesson.early, lesson.truth, weights, config.batch_size, clock)
        held = in_order(lesson.pixels, lesson.held, lesson.truth, config.batch_size)
        if before is None:
            _learn_labels(labels, lesson, config, weights, Clock(seed))
        compute_in(encoder, precision)
        _compile(model, _rate(config, len(batches)), config, lesson.kind, precision)
        if before is None:
            before = float(model.evaluate(held, return_dict=True, verbose=0)["log_loss"])
        checkpoint.restore(model)
        log.info(
            "adapt: fine-tuning %s in %s on %s pictures%s; log-loss on validation pictures %.4f before",
            ", ".join(block.name for block in blocks),
            precision,
            f"{len(lesson.early):,}",
            f", going on after epoch {len(losses)}" if losses else "",
            before,
        )
        callbacks = [
            keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: _at(model, clock, epoch)),
            *checkpoint.callbacks(before, config.patience),
            _progress(keras, config.epochs, len(batches)),
            keras.callbacks.LambdaCallback(on_epoch_end=lambda _, logs: told(float(logs[MONITORED]))),
            *more,
        ]
        model.fit(
            batches,
            validation_data=held,
            initial_epoch=len(losses),
            epochs=config.epochs,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )
    standing, names = Standing.of(before, checkpoint.losses()), tuple(block.name for block in blocks)
    if standing.epochs == 0:
        checkpoint.keep_losses_alone()
        return FineTuned(None, 0, before, before, names, precision)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the optimizer's state, which nobody needs any more
        model.load_weights(checkpoint.best)
    compute_in(encoder, "float32")
    free(encoder)
    path = folder / "encoder.keras"
    encoder.save(path)
    return FineTuned(path, standing.epochs, before, standing.best, names, precision)


def loaded(source: Path) -> Any:
    """The Keras model in a file. Raises: EncoderError."""
    try:
        return import_keras().saving.load_model(source, compile=False, safe_mode=True)
    except Exception as error:
        raise EncoderError(f"the encoder file {source} cannot be loaded: {str(error)[:300]}") from None


def _labels(lesson: Lesson, config: FineTuneConfig) -> Any:
    """Features to logits: standardised by one scale, as of a feature that is nearly always 0 its own would be tiny."""
    keras = import_keras()
    total, square, n = np.zeros(lesson.features.shape[1]), 0.0, len(lesson.early)
    for start in range(0, n, 4096):
        x = np.asarray(lesson.features[lesson.early[start : start + 4096]], np.float64)
        total, square = total + x.sum(axis=0), square + float(np.square(x).sum())
    mean = total / n
    scale = math.sqrt(max(square / (n * len(mean)) - float(np.square(mean).mean()), _LEAST_VARIANCE))
    return keras.Sequential(
        [
            keras.Input((len(mean),), dtype="float32"),
            keras.layers.Rescaling(1 / scale, (-mean / scale).astype(np.float32).tolist(), dtype="float32"),
            keras.layers.Dropout(config.dropout, seed=0, dtype="float32"),
            keras.layers.Dense(
                lesson.truth.shape[1], kernel_initializer="zeros", dtype="float32", name="labels"
            ),
        ],
        name="labels_of_features",
    )


def _ended(before: float, losses: Sequence[float], config: FineTuneConfig) -> bool:
    # As Keras' early stopping, which never ends after the first epoch.
    stopped = len(losses) > 1 and Standing.of(before, losses).wait >= config.patience
    return stopped or len(losses) >= config.epochs or any(map(math.isnan, losses))


def _learn_labels(
    labels: Any, lesson: Lesson, config: FineTuneConfig, weights: NDArray[np.float32], clock: Clock
) -> None:
    keras = import_keras()
    size = int(np.clip(len(lesson.early) // _START_STEPS, *_START_BATCHES))
    batches = shuffled(lesson.features, lesson.early, lesson.truth, weights, size, clock)
    held = in_order(lesson.features, lesson.held, lesson.truth, 1024)
    _compile(labels, _START_RATE, config, lesson.kind)
    stop = keras.callbacks.EarlyStopping(
        "val_log_loss", mode="min", patience=_START_PATIENCE, restore_best_weights=True
    )
    turn = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: _at(labels, clock, epoch))
    labels.fit(
        batches, validation_data=held, epochs=_START_EPOCHS, callbacks=[turn, stop], shuffle=False, verbose=0
    )


def _model(encoder: Any, labels: Any, config: FineTuneConfig, seed: int) -> Any:
    """uint8 RGB to logits, through augmentation, encoder and labels."""
    keras = import_keras()
    inputs = keras.Input(encoder.input_shape[1:], dtype="uint8", name="pixels")
    x = keras.ops.cast(inputs, "float32")
    for layer in augmentation(config.augment, seed):
        x = layer(x)
    return keras.Model(inputs, labels(encoder(x)), name="fine_tuning")


def _compile(model: Any, rate: Any, config: FineTuneConfig, kind: Kind, precision: str = "float32") -> None:
    keras = import_keras()
    optimizer = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    if (
        precision == "float16"
    ):  # in which small gradients are 0: scaled up, and steps with infinite ones left out
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    if kind == "multi_label":
        loss: Any = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=config.label_smoothing)
        metric: Any = keras.metrics.BinaryCrossentropy("log_loss", from_logits=True)
    else:
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=config.label_smoothing)
        metric = keras.metrics.CategoricalCrossentropy("log_loss", from_logits=True)
    # Not compiled by XLA, which has no kernel for turning pictures.
    model.compile(optimizer, loss, metrics=[metric], jit_compile=False)


def _rate(config: FineTuneConfig, steps: int) -> Any:
    schedule = import_keras().optimizers.schedules.CosineDecay
    total = max(1, steps) * config.epochs
    rising = round(config.warmup * total)
    if rising == 0:
        return schedule(config.learning_rate, total)
    return schedule(0.0, total - rising, warmup_target=config.learning_rate, warmup_steps=rising)


def _at(model: Any, clock: Clock, epoch: int) -> None:
    clock.epoch = epoch
    reseed(model, clock)


def _progress(keras: Any, epochs: int, steps: int) -> Any:
    told = began = time.monotonic()
    now = 0

    def begin(epoch: int, _: Any) -> None:
        nonlocal told, began, now
        told = began = time.monotonic()
        now = epoch

    def batch(number: int, logs: Any) -> None:
        nonlocal told
        if time.monotonic() - told > _TOLD_S:
            told = time.monotonic()
            log.info(
                "adapt: epoch %d of %d, batch %d of %d, loss %.4f",
                now + 1,
                epochs,
                number + 1,
                steps,
                logs["loss"],
            )

    def end(epoch: int, logs: Any) -> None:
        log.info(
            "adapt: epoch %d of %d, loss %.4f, log-loss on validation pictures %.4f, %.1f s",
            epoch + 1,
            epochs,
            logs["loss"],
            logs["val_log_loss"],
            time.monotonic() - began,
        )

    return keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_train_batch_end=batch, on_epoch_end=end)
