"""What every runtime is: a file loaded once, one batch shape, bytes in and float32 vectors out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

BATCH_BYTES = 64 * 1024 * 1024
"""Most bytes of one model batch of uint8 pixels on a CPU."""


class Runtime(Protocol):
    """An encoder in this process.

    batch_size: most pictures of one call. input_size: (height, width). dimension: numbers a vector.
    """

    batch_size: int
    input_size: tuple[int, int]
    dimension: int

    def encode(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """`rgb` (n, height, width, 3) with n at most `batch_size`, to vectors (n, dimension)."""
        ...


def cpu_batch(asked: int | None, usual: int, input_size: tuple[int, int]) -> int:
    """`asked` or else `usual` pictures, but no more than fit into `BATCH_BYTES`, and at least one."""
    height, width = input_size
    return max(1, min(asked or usual, BATCH_BYTES // (3 * height * width)))


def padded(rgb: npt.NDArray[np.uint8], batch_size: int) -> npt.NDArray[np.uint8]:
    """`rgb` filled up with black to `batch_size` pictures, so that a runtime meets one shape only."""
    if len(rgb) == batch_size:
        return rgb
    full = np.zeros((batch_size, *rgb.shape[1:]), dtype=np.uint8)
    full[: len(rgb)] = rgb
    return full
