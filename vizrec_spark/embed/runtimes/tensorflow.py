"""Run a Keras file by TensorFlow, on the CPU or on the GPU that Spark gave this task."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark import TaskContext

from vizrec_spark.embed.choice import Precision, cpu_has_bfloat16
from vizrec_spark.embed.runtimes.base import cpu_batch, padded
from vizrec_spark.errors import EncoderError
from vizrec_spark.kernels.keras_import import import_keras

_CPU_BATCH = 16
_GPU_BATCH = 512
_GPU_SHARE = 0.5  # of the free memory, for one batch; cuDNN and XLA take work space beside it
_KEPT_FLOAT32 = frozenset({"preprocessing", "as_float32"})

_claimed: str | None = None  # the GPU of this process, once it has one


class TensorFlowRuntime:
    """An encoder file as one compiled function on batches of uint8 pictures."""

    def __init__(self, path: Path, precision: Precision, batch_size: int | None, threads: int) -> None:
        """Load `path` in Keras' safe mode, to run on a GPU where there is one, or on `threads` CPU threads.

        TensorFlow sizes its thread pools once a process, so the first runtime of a process decides.
        Raises: EncoderError when the file cannot be loaded, or `precision` is bfloat16 and neither a GPU nor the CPU
        has it: TensorFlow would emulate it, many times slower.
        """
        _claim_gpu()
        keras = import_keras()
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        if precision == "bfloat16" and not gpus and not cpu_has_bfloat16():
            raise EncoderError(
                "this machine has no GPU and no bfloat16 instructions, the driver's has: set embed.precision=float32, "
                "or run on machines of one kind."
            )
        with contextlib.suppress(RuntimeError):  # the pools, or the GPU, stand already
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
            for gpu in gpus:
                tf.config.experimental.set_memory_growth(gpu, True)
        try:
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:
            raise EncoderError(f"the encoder file {path} cannot be loaded: {error}") from error
        if precision == "bfloat16":
            _mix_bfloat16(model)
        _, height, width, _ = model.input_shape
        self.input_size = (int(height), int(width))
        self.dimension = int(model.output_shape[-1])
        self.batch_size = (
            batch_size or gpu_batch(_free_memory(gpus[0]), model)
            if gpus
            else cpu_batch(batch_size, _CPU_BATCH, self.input_size)
        )
        shape = tf.TensorSpec((self.batch_size, height, width, 3), tf.uint8)
        # Bytes go in and are widened inside: a quarter of the memory traffic of float input.
        self._function = tf.function(
            lambda rgb: tf.cast(model(tf.cast(rgb, tf.float32), training=False), tf.float32),
            input_signature=[shape],
            jit_compile=bool(gpus) or None,  # XLA pays on a GPU; on a CPU oneDNN's own kernels are faster
        )

    def encode(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See `Runtime.encode`."""
        return np.asarray(self._function(padded(rgb, self.batch_size)), dtype=np.float32)[: len(rgb)]


def gpu_batch(free_bytes: int, model: Any) -> int:
    """Pictures a call for a GPU with `free_bytes`: a power of two, from 1 to 512.

    A picture counts with its three largest activations as float32: a layer's input, its output and one that a
    shortcut keeps.
    """
    sizes = sorted(_activation_bytes(layer) for layer in model._flatten_layers(include_self=False))
    a_picture = max(sum(sizes[-3:]), 1)
    fits = max(int(_GPU_SHARE * free_bytes) // a_picture, 1)
    return int(min(2 ** (fits.bit_length() - 1), _GPU_BATCH))


def _activation_bytes(layer: Any) -> int:
    try:
        shape = layer.output.shape
    except (AttributeError, ValueError):  # a nested model's layer, or one with several outputs
        return 0
    return 4 * int(np.prod([n or 1 for n in shape[1:]]))


def _mix_bfloat16(model: Any) -> None:
    """Computes in bfloat16 on float32 weights; scaling the pixels and the result stay float32."""
    policy = import_keras().DTypePolicy("mixed_bfloat16")
    for layer in model._flatten_layers(include_self=False):
        if layer.name not in _KEPT_FLOAT32:
            layer.dtype_policy = policy


def _claim_gpu() -> None:
    """Shows TensorFlow only the GPU that Spark granted this task, so that each process has one of its own.

    The first grant stands: TensorFlow does not change its device, and Spark may hand a later task of this process
    another address, of which the memory would then be asked in vain.
    """
    global _claimed
    if _claimed is not None:
        return
    task = TaskContext.get()
    granted = task.resources().get("gpu") if task is not None else None
    if granted is not None:
        _claimed = ",".join(granted.addresses)
        os.environ["CUDA_VISIBLE_DEVICES"] = _claimed


def _free_memory(gpu: Any) -> int:
    """Bytes free on `gpu`, as its driver tells; 8 GiB where it does not."""
    import subprocess

    index = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] or "0"
    query = ["nvidia-smi", "-i", index, "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
        return int(told.splitlines()[0]) * 1024 * 1024
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return 8 * 1024**3
