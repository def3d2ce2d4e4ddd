"""Search by picture: the vectors of all items in memory, and an encoder for the picture that comes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from vizrec_spark.errors import TableError
from vizrec_spark.imaging import load_rgb
from vizrec_spark.serve.delta import Opened
from vizrec_spark.serve.pictures import PictureRows


class Encoder(Protocol):
    """An encoder in this process. input_size: (height, width). dimension: numbers a vector."""

    input_size: tuple[int, int]
    dimension: int

    def encode(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """`rgb` (1, height, width, 3) to a vector (1, dimension); one call at a time."""
        ...


EncoderLoader = Callable[[str], Encoder]
"""The encoder of an id. Raises: EncoderError where the configuration does not make that very encoder."""


class Found(NamedTuple):
    """Positions of items, nearest first, and their cosines with the picture."""

    item: NDArray[np.int64]
    cosine: NDArray[np.float32]


def best_of(score: NDArray[Any], key: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Where the k largest of `score` (m,) stand, largest first; ties in order of `key` (m,), all of them if m < k."""
    best = np.arange(len(score))
    if 0 < k < len(score):
        bar = np.partition(score, len(score) - k)[len(score) - k]
        best = np.flatnonzero(score >= bar)
    return best[np.lexsort((key[best], -score[best]))][:k]


@dataclass(frozen=True)
class Vectors:
    """The unit vectors (m, d float32) of the m items that have one, and their positions (m,) in the catalogue."""

    encoder_id: str
    item: NDArray[np.int32]
    unit: NDArray[np.float32]

    def nearest(self, vector: NDArray[np.float32], k: int) -> Found:
        """The k items of largest cosine with `vector` (d,), exactly; ties in order of item. All pairs are compared."""
        k = min(k, len(self.item))
        if k == 0:
            return Found(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
        length = float(np.linalg.norm(vector))
        asked = vector / np.float32(length) if length > 0 else vector
        cosine: NDArray[np.float32] = self.unit @ asked.astype(np.float32, copy=False)
        best = best_of(cosine, np.arange(len(cosine)), k)
        return Found(self.item[best].astype(np.int64), cosine[best])

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return int(self.item.nbytes + self.unit.nbytes)


def read_vectors(embeddings: Opened, encoder_id: str, dimension: int, pictures: PictureRows) -> Vectors:
    """A vector an item, as stage `similar` compares them: the mean of its pictures' vectors, here of length 1.

    Raises: TableError for vectors of another length than `dimension`, or a table that cannot be read.
    """
    # Distinct contents get numbers; a picture that several items show is read once.
    names = pc.unique(pictures.sha256)
    content = pc.index_in(pictures.sha256, value_set=names).to_numpy(zero_copy_only=False)
    vectors = np.zeros((len(names), dimension), dtype=np.float32)
    there = np.zeros(len(names), dtype=bool)
    for piece in embeddings.pieces(("sha256", "vector"), where={"encoder_id": encoder_id}):
        number = pc.fill_null(pc.index_in(piece.data["sha256"], value_set=names), -1)
        at = number.to_numpy().astype(np.int64)
        column = piece.data["vector"].combine_chunks()
        lengths = pc.list_value_length(column)
        if len(column) and (pc.min(lengths).as_py(), pc.max(lengths).as_py()) != (dimension, dimension):
            raise TableError(
                f"Table embeddings has vectors of encoder {encoder_id} whose length is not {dimension}, which table "
                "encoders says."
            )
        known = at >= 0
        vectors[at[known]] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dimension)[known]
        there[at[known]] = True
    shown = there[content]
    item, content = pictures.item[shown], content[shown]
    items, first, pictured = np.unique(item, return_index=True, return_counts=True)
    if len(items) == len(vectors) and np.array_equal(content, np.arange(len(vectors))):
        unit = vectors  # one picture an item, in its order: nothing is copied
    else:
        unit = vectors[content[first]]
        # `pictures` are in order of path, so the sum is that of stage `similar`.
        for at in np.flatnonzero(pictured > 1):
            rows = content[first[at] : first[at] + pictured[at]]
            unit[at] = vectors[rows].astype(np.float64).sum(axis=0) / len(rows)
    lengths = np.sqrt(np.einsum("ij,ij->i", unit, unit))
    np.divide(unit, lengths[:, None], out=unit, where=lengths[:, None] > 0)
    return Vectors(encoder_id, items, unit)


class PictureSearch:
    """From the bytes of a picture to the items that look like it."""

    def __init__(self, encoder: Encoder, max_pixels: int) -> None:
        self._encoder, self._max_pixels = encoder, max_pixels
        self._one_at_a_time = threading.Lock()

    def find(self, content: bytes, vectors: Vectors, k: int) -> Found:
        """The k items that look most like the picture. Raises: ImageRefused, as stage `ingest` refuses."""
        pixels = load_rgb(content, self._encoder.input_size, max_pixels=self._max_pixels)
        with self._one_at_a_time:
            (vector,) = self._encoder.encode(pixels[np.newaxis])
        return vectors.nearest(vector, k)
