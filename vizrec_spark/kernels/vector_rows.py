"""A column of equally long vectors as a matrix, without a Python loop over values."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vizrec_spark.errors import InputError


def vector_rows(column: pa.Array, dimension: int) -> NDArray[np.float32]:
    """A list<float> array of n vectors of `dimension` numbers, n × dimension float32.

    Raises: InputError when one is null, of another length or not finite.
    """
    values = column.flatten()
    lengths = np.diff(column.offsets.to_numpy(zero_copy_only=False))
    if column.null_count or values.null_count or (lengths != dimension).any():
        raise InputError(f"expected vectors of {dimension} numbers without nulls: encode the pictures again")
    flat = values.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    if not np.isfinite(flat).all():
        raise InputError("expected finite vectors, got NaN or infinity: encode the pictures again")
    return flat.reshape(len(column), dimension)
