"""Run an encoder file in this process: loaded once, one compiled function, one batch shape."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vizrec_spark.embed.quiet import import_keras
from vizrec_spark.errors import EncoderError


class TensorFlowRuntime:
    """An encoder file as a function on batches of uint8 pictures."""

    def __init__(self, path: Path, batch_size: int, threads: int) -> None:
        """Load `path` in Keras' safe mode, to run on `threads` CPU threads.

        TensorFlow sizes its thread pools once a process, so the first runtime of a process decides.
        Raises: EncoderError when the file cannot be loaded.
        """
        keras = import_keras()
        import tensorflow as tf

        with contextlib.suppress(RuntimeError):  # the pools stand already
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        try:
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:
            raise EncoderError(f"the encoder file {path} cannot be loaded: {error}") from error
        _, height, width, _ = model.input_shape
        self.batch_size = batch_size
        self.input_size = (int(height), int(width))
        self.dimension = int(model.output_shape[-1])
        shape = tf.TensorSpec((batch_size, height, width, 3), tf.uint8)
        # Bytes go in and are widened inside: a quarter of the memory traffic of float input.
        self._function = tf.function(
            lambda rgb: model(tf.cast(rgb, tf.float32), training=False), input_signature=[shape]
        )

    def encode(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """`rgb` (n, height, width, 3) with n at most `batch_size`, to vectors (n, dimension).

        A smaller batch is padded, so that there is one traced graph whatever n is.
        """
        count = len(rgb)
        if count < self.batch_size:
            padded = np.zeros((self.batch_size, *rgb.shape[1:]), dtype=np.uint8)
            padded[:count] = rgb
            rgb = padded
        return np.asarray(self._function(rgb), dtype=np.float32)[:count]


_loaded: dict[tuple[str, int], TensorFlowRuntime] = {}
_loads = 0


def process_runtime(path: Path, encoder_id: str, batch_size: int, threads: int) -> TensorFlowRuntime:
    """The runtime of `encoder_id` in this process, loaded on the first call and kept until another is asked for.

    Raises: EncoderError as `TensorFlowRuntime`.
    """
    global _loads
    key = (encoder_id, batch_size)
    if key not in _loaded:
        # One encoder at a time: a worker lives longer than a job, and its memory is counted.
        _loaded.clear()
        _loaded[key] = TensorFlowRuntime(path, batch_size, threads)
        _loads += 1
    return _loaded[key]


def load_count() -> int:
    """How many encoder files this process has loaded so far."""
    return _loads
