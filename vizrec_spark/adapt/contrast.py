"""Directions learned by contrast: pictures that share a label are drawn together, and all others pushed apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.adapt.fine_tune.batches import Clock, in_order, shuffled
from vizrec_spark.adapt.network import Examples, label_weights
from vizrec_spark.adapt.spool import Features
from vizrec_spark.config.models import ContrastConfig
from vizrec_spark.kernels.keras_import import import_keras
from vizrec_spark.stage import log

Floats = NDArray[np.float64]

_MOST_HELD = 1024  # validation pictures of a batch, which are compared with each other


@dataclass(frozen=True)
class Contrast:
    """directions (d, r), and the epochs after which they were best."""

    directions: Floats
    epochs: int


def learn_contrast(
    examples: Examples, start: Floats, centre: Floats, config: ContrastConfig, seed: int, *,
    validation: Examples | None = None, epochs: int | None = None,
) -> Contrast:  # fmt: skip
    """Learns (d, r) directions from `start`, (d, r), by the supervised contrastive loss (Khosla et al. 2020) of
    (φ(x) - centre) @ directions at length 1.

    With `validation` for at most `config.epochs`, until the loss there has not fallen for `config.patience` epochs, and
    the best epoch's are kept; without, for `epochs` of a schedule of `config.epochs`. Batches are gathered from the map
    of the features. Pictures that share any label count as alike.
    """
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    model = _model(keras, start, centre)
    clock = Clock(seed)
    source = _Prepared(examples.features)
    weights = label_weights(examples.truth[examples.rows], even=False)
    batches = shuffled(source, examples.rows, examples.truth, weights, config.batch_size, clock)
    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, max(1, len(batches)) * config.epochs)
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=config.weight_decay),
        _contrastive(keras, config.temperature),
        jit_compile=False,
    )
    callbacks = [
        keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: setattr(clock, "epoch", epoch))
    ]
    held = None
    if validation is not None:
        held = in_order(source, validation.rows, validation.truth, _MOST_HELD)
        callbacks.append(
            keras.callbacks.EarlyStopping("val_loss", patience=config.patience, restore_best_weights=True)
        )
    done = model.fit(
        batches,
        validation_data=held,
        epochs=epochs or config.epochs,
        callbacks=callbacks,
        shuffle=False,
        verbose=0,
    )
    losses = done.history.get("val_loss")
    best = len(done.history["loss"]) if losses is None else int(np.nanargmin(losses)) + 1
    if losses is not None:
        log.info("adapt: contrast, %d epochs: loss on validation pictures %.4f", best, losses[best - 1])
    learned = np.asarray(model.get_layer("directions").get_weights()[0], np.float64)
    return Contrast(learned, best)


class _Prepared:
    """φ of features by row, as an array is read."""

    dtype = np.dtype(np.float32)

    def __init__(self, features: Features) -> None:
        self._features = features
        self.shape = (len(features.raw), features.dimension)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._features.rows(rows)


def _model(keras: Any, start: Floats, centre: Floats) -> Any:
    inputs = keras.Input((len(centre),), dtype="float32", name="features")
    x = keras.layers.Rescaling(1.0, (-centre).astype(np.float32).tolist())(inputs)
    x = keras.layers.Dense(start.shape[1], use_bias=False, name="directions")(x)
    model = keras.Model(inputs, keras.layers.UnitNormalization()(x), name="contrast")
    model.get_layer("directions").set_weights([start.astype(np.float32)])
    return model


def _contrastive(keras: Any, temperature: float) -> Any:
    """For each picture of a batch the mean of -log p(other) over the others that share a label, where p is the softmax
    of the cosines with all others by `temperature`; 0 for a picture that has none."""
    ops = keras.ops

    def loss(truth: Any, vectors: Any) -> Any:
        itself = ops.eye(ops.shape(vectors)[0], dtype=vectors.dtype)
        alike = ops.cast(ops.matmul(truth, ops.transpose(truth)) > 0, vectors.dtype) * (1 - itself)
        cosines = ops.matmul(vectors, ops.transpose(vectors)) / temperature
        others = ops.logsumexp(cosines - 1e9 * itself, axis=1, keepdims=True)
        drawn = ops.sum(alike * (cosines - others), axis=1)
        return -drawn / ops.maximum(ops.sum(alike, axis=1), 1.0)

    return loss
