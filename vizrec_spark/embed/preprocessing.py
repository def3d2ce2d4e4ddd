"""How 0..255 RGB becomes what a model was trained on: an order of channels, a mean and a scale."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vizrec_spark.errors import EncoderError
from vizrec_spark.kernels.keras_import import import_keras

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """``(x[order] - mean) / scale`` per channel, `mean` and `scale` given in the order after the reordering."""

    order: Literal["rgb", "bgr"] = "rgb"
    mean: Triple = (0.0, 0.0, 0.0)
    scale: Triple = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if not all(s > 0 and np.isfinite(s) for s in self.scale) or not np.isfinite(self.mean).all():
            raise EncoderError(f"preprocessing needs finite means and positive scales, got {self}.")

    def apply(self, pixels: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """`pixels` (..., 3), RGB 0..255, as the model's float32 input of the same shape."""
        values = np.asarray(pixels, dtype=np.float32)
        if self.order == "bgr":
            values = values[..., ::-1]
        return (values - _float32(self.mean)) / _float32(self.scale)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


# The three rules that Keras calls "modes"; constants are the means and deviations of ImageNet's training photos.
NAMED: Mapping[str, Preprocessing] = {
    "identity": Preprocessing(),
    "tf": Preprocessing("rgb", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "torch": Preprocessing("rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "caffe": Preprocessing("bgr", (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
}


def affine(
    mean: float | Sequence[float], scale: float | Sequence[float], order: Literal["rgb", "bgr"] = "rgb"
) -> Preprocessing:
    """`mean` and `scale` as one number or three. Raises: EncoderError for another count."""
    return Preprocessing(order, _triple("mean", mean), _triple("scale", scale))


def named(name: str) -> Preprocessing:
    """Raises: EncoderError for an unknown name."""
    if name not in NAMED:
        raise EncoderError(f"preprocessing {name!r} is none of {', '.join(NAMED)}.")
    return NAMED[name]


def application_preprocessing(name: str, options: Mapping[str, Any] | None = None) -> Preprocessing:
    """What ``keras.applications.<name>`` wants, found by trying the `preprocess_input` that Keras has for it.

    Models that rescale inside themselves have one that changes nothing, hence ``identity``.
    Raises: EncoderError when Keras' function is none of `NAMED`, or `options` switch the rescaling off.
    """
    if options and options.get("include_preprocessing") is False:
        raise EncoderError(f"{name} without its own preprocessing: set embed.preprocessing as well.")
    constructor = getattr(import_keras().applications, name)
    theirs = importlib.import_module(constructor.__module__).preprocess_input
    probe = np.random.default_rng(0).uniform(0, 255, (1, 5, 5, 3)).astype(np.float32)
    wanted = np.asarray(theirs(probe.copy()))
    for candidate in NAMED.values():
        if np.allclose(candidate.apply(probe), wanted, atol=1e-4):
            return candidate
    raise EncoderError(f"the preprocess_input of {name} is not known here: set embed.preprocessing.")


def as_layer(rule: Preprocessing) -> Any | None:
    """`rule` as a stock Keras layer, float32 in and out; None for the identity.

    Reordering channels is a 1×1 convolution with fixed weights: the saved model then needs no code of this
    package and no Lambda layer, and loads in Keras' safe mode.
    """
    keras = import_keras()
    if rule == NAMED["identity"]:
        return None
    if rule.order == "rgb":
        scale = [1.0 / s for s in rule.scale]
        offset = [-m / s for m, s in zip(rule.mean, rule.scale, strict=True)]
        uniform = len(set(scale)) == len(set(offset)) == 1
        return keras.layers.Rescaling(
            scale[0] if uniform else scale, offset[0] if uniform else offset, name="preprocessing"
        )
    layer = keras.layers.Conv2D(3, 1, trainable=False, name="preprocessing")
    layer.build((None, None, None, 3))
    kernel = np.eye(3, dtype=np.float32)[::-1] / _float32(rule.scale)
    layer.set_weights([kernel.reshape(1, 1, 3, 3), -_float32(rule.mean) / _float32(rule.scale)])
    return layer


def _float32(values: Triple) -> npt.NDArray[np.float32]:
    return np.asarray(values, dtype=np.float32)


def _triple(what: str, value: float | Sequence[float]) -> Triple:
    numbers = [float(value)] * 3 if isinstance(value, int | float) else [float(v) for v in value]
    if len(numbers) != 3:
        raise EncoderError(f"preprocessing {what} must be one number or three, got {value!r}.")
    return numbers[0], numbers[1], numbers[2]
