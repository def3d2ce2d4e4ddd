"""Run an ``.onnx`` encoder by ONNX Runtime on a CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from vizrec_spark.embed.choice import Precision
from vizrec_spark.embed.runtimes.base import cpu_batch, padded
from vizrec_spark.errors import EncoderError

_BATCH = 4  # as for OpenVINO


class OnnxRuntime:
    """A composed ``.onnx`` file (see `vizrec_spark.embed.onnx_graph`) as an inference session."""

    def __init__(self, path: Path, precision: Precision, batch_size: int | None, threads: int) -> None:
        """Load `path` to run on `threads` threads. Raises: EncoderError when it cannot be loaded."""
        import onnxruntime as ort

        if precision != "float32":
            raise EncoderError(f"ONNX Runtime runs encoders in float32 here, not in {precision}.")
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        # Spinning threads would take the cores on which the next pictures are decoded.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise EncoderError(
                f"the encoder file {path} cannot be loaded by ONNX Runtime: {error}"
            ) from error
        taken, given = self._session.get_inputs()[0], self._session.get_outputs()[0]
        own_batch, height, width, _ = taken.shape
        self._name = taken.name
        self.input_size = (int(height), int(width))
        self.dimension = int(given.shape[-1])
        self.batch_size = (
            own_batch if isinstance(own_batch, int) else cpu_batch(batch_size, _BATCH, self.input_size)
        )

    def encode(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See `Runtime.encode`."""
        (vectors,) = self._session.run(None, {self._name: padded(rgb, self.batch_size)})
        return np.asarray(vectors, dtype=np.float32)[: len(rgb)]
