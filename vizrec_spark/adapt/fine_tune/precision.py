"""In which numbers the encoder computes while it learns: 16 bits where the GPU has units for them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from vizrec_spark.adapt.fine_tune.blocks import flat_layers
from vizrec_spark.kernels.keras_import import import_keras

_BFLOAT16, _FLOAT16 = (8, 0), (7, 0)  # compute capabilities: Ampere and Volta


def chosen(asked: str) -> str:
    """`asked`, or for ``auto`` what suits the machine: see `of_gpu`; without a GPU float32, which TensorFlow is
    fastest in on most CPUs."""
    import_keras()
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    with contextlib.suppress(RuntimeError):  # in use already
        for gpu in gpus:  # workers of the same machine encode on it later
            tf.config.experimental.set_memory_growth(gpu, True)
    if asked != "auto":
        return asked
    return of_gpu(tf.config.experimental.get_device_details(gpus[0])) if gpus else "float32"


def of_gpu(details: Mapping[str, Any]) -> str:
    """bfloat16 on GPUs from Ampere on, float16 on Volta and Turing, else float32.

    details: what TensorFlow says of the GPU, with `compute_capability` as two numbers where it is known.
    """
    capability = tuple(details.get("compute_capability") or (0, 0))
    return "bfloat16" if capability >= _BFLOAT16 else "float16" if capability >= _FLOAT16 else "float32"


def compute_in(model: Any, precision: str) -> None:
    """Lets the layers of `model` compute in `precision`; weights stay float32, as do scaling pixels and the result."""
    policy = import_keras().DTypePolicy("float32" if precision == "float32" else f"mixed_{precision}")
    for layer in flat_layers(model):
        if layer.name != "as_float32":
            layer.dtype_policy = policy
