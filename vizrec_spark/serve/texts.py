"""Many texts as Arrow holds them: the bytes in a row, and where each begins. No Python object a text."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


class Texts:
    """n texts; one is decoded when it is asked for."""

    def __init__(self, column: pa.Array | pa.ChunkedArray) -> None:
        """`column` of strings, in order; a null becomes an empty text."""
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        array = pc.fill_null(column.cast(pa.large_string()), "")
        _, bounds, data = array.buffers()
        places = np.frombuffer(bounds, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
        # A memoryview gives Python's integers, several times faster than NumPy its own.
        self._bounds = places.data
        self._data = memoryview(data) if data is not None else memoryview(b"")

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __getitem__(self, at: int) -> str:
        return str(self._data[self._bounds[at] : self._bounds[at + 1]], "utf-8")

    def _bytes(self, at: int) -> bytes:
        return bytes(self._data[self._bounds[at] : self._bounds[at + 1]])

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return int(self._bounds.nbytes + self._bounds[-1] - self._bounds[0]) if len(self._bounds) else 0


class SortedTexts(Texts):
    """Distinct texts in ascending order of their UTF-8 bytes, found by bisection."""

    def __init__(self, column: pa.Array | pa.ChunkedArray) -> None:
        """`column` of distinct strings in ascending order."""
        super().__init__(column)
        self._column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column

    def position(self, text: str) -> int:
        """Where `text` stands; -1 where it is none of them."""
        wanted = text.encode("utf-8", "surrogatepass")
        at = bisect_left(range(len(self)), wanted, key=self._bytes)
        return at if at < len(self) and self._bytes(at) == wanted else -1

    def positions(self, column: pa.ChunkedArray) -> NDArray[np.int32]:
        """Positions of a column of strings or a dictionary of them; -1 for one that is not there, and for null."""
        found = [self._of(chunk) for chunk in column.chunks]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int32)

    def _of(self, chunk: pa.Array) -> NDArray[np.int32]:
        if isinstance(chunk, pa.DictionaryArray):
            of_entry = np.append(self._of(chunk.dictionary), np.int32(-1))
            entry = pc.fill_null(chunk.indices, len(chunk.dictionary)).to_numpy(zero_copy_only=False)
            return np.asarray(of_entry[entry], dtype=np.int32)
        found = pc.fill_null(pc.index_in(chunk.cast(self._column.type), value_set=self._column), -1)
        return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int32)
