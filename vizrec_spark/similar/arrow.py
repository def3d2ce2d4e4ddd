"""Arrow arrays of ids and vectors to numpy and back, without a Python loop over values."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vizrec_spark.errors import InputError


def vectors_to_matrix(vectors: pa.Array) -> NDArray[np.float32]:
    """A list<float> array of n equally long vectors as an n × d float32 matrix, sharing memory if it can.

    Raises: InputError when a vector is null, has a null in it, is not finite or differs in length.
    """
    if isinstance(vectors, pa.ChunkedArray):
        vectors = vectors.combine_chunks()
    rows = len(vectors)
    if rows == 0:
        return np.zeros((0, 0), dtype=np.float32)
    values = vectors.flatten()
    dimension, rest = divmod(len(values), rows)
    lengths = np.diff(vectors.offsets.to_numpy(zero_copy_only=False))
    if vectors.null_count or values.null_count or rest or np.any(lengths != dimension):
        raise InputError(
            f"expected vectors of one length without nulls, got lengths {lengths.min()} to {lengths.max()} "
            f"and {vectors.null_count} null vectors: encode all items with one encoder"
        )
    flat = values.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    if not np.isfinite(flat.sum(dtype=np.float64)):
        raise InputError("expected finite vectors, got NaN or infinity: encode those items again")
    return flat.reshape(rows, dimension)


def matrix_to_vectors(matrix: NDArray[np.float32]) -> pa.ListArray:
    """An n × d matrix as a list<float> array of n vectors."""
    rows, dimension = matrix.shape
    return list_array(pa.array(np.ascontiguousarray(matrix).reshape(-1)), np.full(rows, dimension))


def list_array(values: pa.Array, lengths: NDArray[np.integer]) -> pa.ListArray:
    """Cuts `values` into lists of the given lengths."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), values)
