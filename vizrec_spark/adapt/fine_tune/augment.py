"""Random changes of pictures, as Keras layers that act in training alone."""

from __future__ import annotations

from typing import Any

from vizrec_spark.config.models import AugmentConfig
from vizrec_spark.kernels.keras_import import import_keras


def augmentation(config: AugmentConfig, seed: int) -> list[Any]:
    """Layers from RGB of 0..255 to the same, float32 (batch, height, width, 3); [] where nothing is to be changed.

    What moves out of a picture is filled with the pixels at its edge.
    """
    layers = import_keras().layers
    found: list[Any] = []

    def add(kind: Any, *factors: Any, **more: Any) -> None:
        # In float32 whatever the encoder computes in: bfloat16 has 8 bits, as many as a pixel.
        found.append(kind(*factors, seed=seed + len(found), dtype="float32", **more))

    if config.flip:
        add(layers.RandomFlip, "horizontal")
    if config.rotate:
        add(layers.RandomRotation, config.rotate, fill_mode="nearest")
    if config.shift:
        add(layers.RandomTranslation, config.shift, config.shift, fill_mode="nearest")
    if config.zoom:
        add(layers.RandomZoom, config.zoom, fill_mode="nearest")
    if config.brightness:
        add(layers.RandomBrightness, config.brightness, value_range=(0.0, 255.0))
    if config.contrast:
        add(layers.RandomContrast, config.contrast, value_range=(0.0, 255.0))
    return found
