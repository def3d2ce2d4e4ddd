"""The head that is trained: dense layers in Keras, several members side by side in one model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.adapt.spool import Features
from vizrec_spark.config.models import HeadConfig
from vizrec_spark.kernels.adapted import Dense, Head, Kind
from vizrec_spark.kernels.keras_import import import_keras
from vizrec_spark.stage import log

_LEAST_VARIANCE = 1e-12


@dataclass(frozen=True)
class Examples:
    """Rows of `features` to learn from, and the labels of all its rows: truth (all, classes)."""

    features: Features
    rows: NDArray[np.int64]
    truth: NDArray[np.bool_]
    kind: Kind


@dataclass(frozen=True)
class Trained:
    """Members whose logits add up, and the epochs after which they were best."""

    members: tuple[Head, ...]
    epochs: int


def train(
    examples: Examples,
    config: HeadConfig,
    seed: int,
    *,
    validation: Examples | None = None,
    epochs: int | None = None,
) -> Trained:
    """Trains `config.members` heads on `examples`, side by side.

    With `validation` for at most `config.epochs`, until its loss has not fallen for `config.patience` epochs, and the
    best epoch's weights are kept; without, for `epochs` of a schedule of `config.epochs`. Batches are gathered from the
    map of the features, so that memory does not grow with the pictures. AdamW (Loshchilov and Hutter 2019) with a
    cosine schedule, mixup of features (Zhang et al. 2018), label smoothing and dropout as configured.
    """
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    centre, scale = _spread(examples)
    model = _model(keras, examples, config)
    batches = _batches(keras, examples, config, seed, centre, scale)
    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, max(1, len(batches)) * config.epochs)
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=config.weight_decay), _loss(keras, examples, config)
    )
    callbacks: list[Any] = [_progress(keras)]
    held = None
    if validation is not None:
        held = _plain_batches(keras, validation, config, centre, scale)
        # An epoch that is best is told by its loss; it counts from 0.
        callbacks.append(
            keras.callbacks.EarlyStopping("val_loss", patience=config.patience, restore_best_weights=True)
        )
    done = model.fit(
        batches, validation_data=held, epochs=epochs or config.epochs, callbacks=callbacks, verbose=0
    )
    losses = done.history.get("val_loss")
    best = len(done.history["loss"]) if losses is None else int(np.nanargmin(losses)) + 1
    members = tuple(_head(model, member, config, centre, scale) for member in range(config.members))
    return Trained(members, best)


def _model(keras: Any, examples: Examples, config: HeadConfig) -> Any:
    layers = keras.layers
    inputs = keras.Input((examples.features.dimension,), name="features")
    outputs = []
    for member in range(config.members):
        x = layers.Dropout(config.input_dropout)(inputs)
        for number, width in enumerate(config.layers):
            x = layers.Dense(width, _activation(keras, config.activation), name=f"dense_{member}_{number}")(x)
            x = layers.Dropout(config.dropout)(x)
        outputs.append(layers.Dense(examples.truth.shape[1], name=f"dense_{member}_{len(config.layers)}")(x))
    stacked = outputs[0] if len(outputs) == 1 else layers.Concatenate()(outputs)
    shaped = layers.Reshape((config.members, examples.truth.shape[1]))(stacked)
    return keras.Model(inputs, shaped, name="head")


def _activation(keras: Any, name: str) -> Any:
    """As `kernels.adapted` has it: gelu by the hyperbolic tangent."""
    return partial(keras.activations.gelu, approximate=True) if name == "gelu" else name


def _loss(keras: Any, examples: Examples, config: HeadConfig) -> Any:
    if examples.kind == "multi_label":
        return keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=config.label_smoothing)
    return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=config.label_smoothing)


def _spread(examples: Examples) -> tuple[NDArray[np.float32], float]:
    """The mean of the features, and one scale for all, by which they are standardised."""
    total = np.zeros(examples.features.dimension)
    square = 0.0
    for _, x in examples.features.blocks(examples.rows):
        total += x.sum(axis=0, dtype=np.float64)
        square += float(np.square(x, dtype=np.float64).sum())
    mean = total / len(examples.rows)
    variance = square / (len(examples.rows) * len(mean)) - float(np.square(mean).mean())
    return mean.astype(np.float32), math.sqrt(max(variance, _LEAST_VARIANCE))


def _head(model: Any, member: int, config: HeadConfig, centre: NDArray[np.float32], scale: float) -> Head:
    """A member on features as they are: the standardisation goes into the first, the average into the last."""
    found = [
        model.get_layer(f"dense_{member}_{number}").get_weights() for number in range(len(config.layers) + 1)
    ]
    kernel, bias = found[0]
    found[0] = [kernel / scale, bias - (centre / scale) @ kernel]
    found[-1] = [part / config.members for part in found[-1]]
    layers = tuple(Dense(np.asarray(k, np.float32), np.asarray(b, np.float32)) for k, b in found)
    return Head(layers, config.activation)


def _targets(truth: NDArray[np.bool_], members: int) -> NDArray[np.float32]:
    return np.repeat(truth[:, None, :].astype(np.float32), members, axis=1)


def label_weights(mine: NDArray[np.bool_], *, even: bool) -> NDArray[np.float32]:
    """A weight for each picture, 1 in the mean: with `even` as if each label had as many pictures. mine: their labels,
    (n, classes)."""
    if not even:
        return np.ones(len(mine), np.float32)
    weight = (mine / np.maximum(mine.sum(axis=0), 1)).sum(axis=1) / np.maximum(mine.sum(axis=1), 1)
    return np.asarray(weight / weight.mean(), np.float32)


def _batches(
    keras: Any, examples: Examples, config: HeadConfig, seed: int, centre: NDArray[np.float32], scale: float
) -> Any:
    size = min(config.batch_size, len(examples.rows))
    weights = label_weights(examples.truth[examples.rows], even=config.class_weights)

    class Shuffled(keras.utils.PyDataset):
        """Batches in a new order each epoch, each mixed with itself in another order."""

        def __init__(self) -> None:
            super().__init__()
            self._random = np.random.default_rng(seed)
            self._order = self._random.permutation(len(examples.rows))

        def __len__(self) -> int:
            return max(1, len(examples.rows) // size)

        def on_epoch_end(self) -> None:
            self._order = self._random.permutation(len(examples.rows))

        def __getitem__(self, number: int) -> tuple[Any, Any, Any]:
            mine = self._order[number * size : (number + 1) * size]
            rows = examples.rows[mine]
            x = (examples.features.rows(rows) - centre) / np.float32(scale)
            y, weight = examples.truth[rows].astype(np.float32), weights[mine]
            if config.mixup > 0:
                share = self._random.beta(config.mixup, config.mixup, len(mine)).astype(np.float32)
                share, other = np.maximum(share, 1 - share), self._random.permutation(len(mine))
                x = share[:, None] * x + (1 - share[:, None]) * x[other]
                y = share[:, None] * y + (1 - share[:, None]) * y[other]
                weight = share * weight + (1 - share) * weight[other]
            every = np.repeat(weight[:, None], config.members, axis=1)
            return x, np.repeat(y[:, None, :], config.members, axis=1), every

    return Shuffled()


def _plain_batches(
    keras: Any, examples: Examples, config: HeadConfig, centre: NDArray[np.float32], scale: float
) -> Any:
    size = max(config.batch_size, 1024)

    class InOrder(keras.utils.PyDataset):
        """Batches in order, as they are."""

        def __len__(self) -> int:
            return -(-len(examples.rows) // size)

        def __getitem__(self, number: int) -> tuple[Any, Any]:
            rows = examples.rows[number * size : (number + 1) * size]
            x = (examples.features.rows(rows) - centre) / np.float32(scale)
            return x, _targets(examples.truth[rows], config.members)

    return InOrder()


def _progress(keras: Any) -> Any:
    def told(epoch: int, logs: Any) -> None:
        if epoch % 10 == 0:
            held = "" if "val_loss" not in logs else f", on validation pictures {logs['val_loss']:.4f}"
            log.info("adapt: epoch %d, loss %.4f%s", epoch + 1, logs["loss"], held)

    return keras.callbacks.LambdaCallback(on_epoch_end=told)
