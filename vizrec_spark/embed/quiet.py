"""Keras as stage `embed` imports it."""

from __future__ import annotations

from vizrec_spark.kernels.keras_import import import_keras

__all__ = ["import_keras"]
