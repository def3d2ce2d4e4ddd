"""Encoder files as functions on pictures: one interface, and a module for each library that runs them."""

from __future__ import annotations

from pathlib import Path

from vizrec_spark.embed.choice import Precision, RuntimeName
from vizrec_spark.embed.runtimes.base import Runtime

__all__ = ["Runtime", "load_runtime"]


def load_runtime(
    name: RuntimeName, path: Path, *, precision: Precision, batch_size: int | None, threads: int
) -> Runtime:
    """The encoder file `path` ready to run; only the library that is named gets imported.

    Raises: EncoderError when the file cannot be loaded, or the precision cannot be had on this machine.
    """
    if name == "openvino":
        from vizrec_spark.embed.runtimes.openvino import OpenVinoRuntime

        return OpenVinoRuntime(path, precision, batch_size, threads)
    if name == "onnxruntime":
        from vizrec_spark.embed.runtimes.onnx import OnnxRuntime

        return OnnxRuntime(path, precision, batch_size, threads)
    from vizrec_spark.embed.runtimes.tensorflow import TensorFlowRuntime

    return TensorFlowRuntime(path, precision, batch_size, threads)
