"""Fill a Keras model with weights: all of them or an error, and never a part in silence."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np


def load_weights(model: Any, path: Path) -> None:
    """Load `path` (``.weights.h5``, ``.h5`` or ``.keras``) into `model`.

    Keras leaves layers that a file does not have as they were, with a warning or without one, so each weight
    is NaN before the load and none may be NaN after it. The warnings say nothing more and are not shown.
    Raises: ValueError in one line when the file does not fit or is incomplete.
    """
    for weight in model.weights:
        if np.issubdtype(np.dtype(weight.dtype), np.floating):
            weight.assign(np.full(weight.shape, np.nan, dtype=weight.dtype))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model.load_weights(path)
    except Exception as error:
        raise ValueError(first_line(error)) from None
    empty = [w.path for w in model.weights if np.isnan(np.asarray(w)).any()]
    if empty:
        raise ValueError(f"{len(empty)} of {len(model.weights)} weights are not in it, {empty[0]} for one")


def randomise(model: Any, seed: int) -> None:
    """He-normal kernels (He et al. 2015) from `seed`; scales, biases and statistics stay as the model sets them.

    Drawn here and not by Keras' initialisers: the same seed gives the same weights whatever was built before
    in this process, and no global random state is touched.
    """
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        for weight in layer.weights:
            if not weight.name.endswith("kernel"):
                continue
            *receptive, last = weight.shape
            # Depthwise kernels are (height, width, channels, multiplier) and mix no channels.
            separate = type(layer).__name__ == "DepthwiseConv2D" or weight.name == "depthwise_kernel"
            fan_in = int(np.prod(receptive[:-1] if separate else receptive))
            draw = generator.standard_normal((*receptive, last), dtype=np.float32)
            weight.assign(draw * np.float32(np.sqrt(2.0 / fan_in)))


def first_line(error: Exception) -> str:
    """The first line of what `error` says, or its kind, short enough for one sentence."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
