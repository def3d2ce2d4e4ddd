"""The file that travels to the executors: a Keras encoder exported for the runtime that will run it."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from vizrec_spark.embed.build import BuiltEncoder
from vizrec_spark.embed.choice import RuntimeName
from vizrec_spark.embed.weights import first_line
from vizrec_spark.errors import EncoderError
from vizrec_spark.kernels.keras_import import import_keras

GRAPH, WEIGHTS = "encoder.xml", "encoder.bin"


def export_encoder(encoder: BuiltEncoder, runtime: RuntimeName) -> Path:
    """The file of `encoder` for `runtime`, beside the built one; exported once and then taken from there.

    TensorFlow runs the ``.keras`` file and every runtime an ``.onnx`` file as it is. For OpenVINO, Keras exports
    a graph and its float32 weights, which go into one uncompressed ``<encoder_id>.openvino.zip``; the precision is
    chosen when it is loaded. Raises: EncoderError when Keras cannot export the model.
    """
    if runtime != "openvino" or encoder.path.suffix == ".onnx":
        return encoder.path
    path = encoder.path.with_suffix(".openvino.zip")
    if not path.is_file():
        _export_openvino(encoder.path, path)
    return path


def _export_openvino(source: Path, path: Path) -> None:
    keras = import_keras()
    scratch = path.with_name(f".{uuid4().hex}.tmp")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        graph, weights = Path(folder) / GRAPH, Path(folder) / WEIGHTS
        try:
            model = keras.saving.load_model(source, compile=False, safe_mode=True)
            with _no_telemetry():
                model.export(str(graph), format="openvino", verbose=False)
        except Exception as error:
            raise EncoderError(
                f"Keras cannot export {source.name} to OpenVINO ({first_line(error)}): set embed.runtime=tensorflow."
            ) from error
        try:
            with zipfile.ZipFile(scratch, "w", zipfile.ZIP_STORED) as archive:
                archive.write(graph, GRAPH)
                archive.write(weights, WEIGHTS)
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)


@contextmanager
def _no_telemetry() -> Iterator[None]:
    """OpenVINO's converter reports each use over the network unless it runs in a CI job, so it is told that it does."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before
