"""Run an encoder by OpenVINO on a CPU, in float32 or bfloat16."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vizrec_spark.embed.choice import Precision
from vizrec_spark.embed.export import GRAPH, WEIGHTS
from vizrec_spark.embed.runtimes.base import cpu_batch, padded
from vizrec_spark.errors import EncoderError

# Activations of few pictures stay in the caches of a core, and the last batch of a task is padded by few.
_BATCH = 4
_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoRuntime:
    """An exported Keras encoder, or an ``.onnx`` one, compiled for this CPU at one batch shape."""

    def __init__(self, path: Path, precision: Precision, batch_size: int | None, threads: int) -> None:
        """Compile `path` (see `vizrec_spark.embed.export`) to run on `threads` threads.

        Raises: EncoderError when the file cannot be read, or `precision` is bfloat16 and the CPU has none.
        """
        import openvino as ov

        core = ov.Core()
        if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise EncoderError(
                f"this machine ({core.get_property('CPU', 'FULL_DEVICE_NAME')}) has no bfloat16 instructions, the "
                "driver's has: set embed.precision=float32, or run on CPUs of one kind."
            )
        model = _read(core, path)
        shape = model.input(0).get_partial_shape()
        self.input_size = (shape[1].get_length(), shape[2].get_length())
        self.batch_size = cpu_batch(batch_size, _BATCH, self.input_size)
        model.reshape([self.batch_size, *self.input_size, 3])
        self._compiled = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _HINTS[precision],
                "INFERENCE_NUM_THREADS": threads,
                # Workers share a machine, so none may claim certain cores for itself.
                "ENABLE_CPU_PINNING": False,
                "NUM_STREAMS": 1,
                "PERFORMANCE_HINT": "LATENCY",
            },
        )
        self._request = self._compiled.create_infer_request()
        self.dimension = self._compiled.output(0).get_shape()[-1]

    def encode(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See `Runtime.encode`."""
        self._request.infer({0: padded(rgb, self.batch_size)}, share_inputs=True)
        return np.array(self._request.get_output_tensor(0).data[: len(rgb)], dtype=np.float32)


def _read(core: Any, path: Path) -> Any:
    """The model on uint8 pixels (batch, height, width, 3)."""
    import openvino as ov

    try:
        if path.suffix == ".onnx":
            model = core.read_model(path)
        else:
            with zipfile.ZipFile(path) as archive:
                graph, weights = archive.read(GRAPH), archive.read(WEIGHTS)
            model = core.read_model(graph, ov.Tensor(np.frombuffer(weights, dtype=np.uint8)))
        steps = ov.preprocess.PrePostProcessor(model)
        steps.input().tensor().set_element_type(ov.Type.u8)
        steps.input().preprocess().convert_element_type()
        return steps.build()
    except (RuntimeError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise EncoderError(f"the encoder file {path} cannot be read by OpenVINO: {error}") from error
