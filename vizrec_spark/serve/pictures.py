"""Thumbnails of the catalogue's pictures, read from the data files of table `images` when they are asked for."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vizrec_spark.imaging import thumbnail
from vizrec_spark.serve.catalogue import Catalogue
from vizrec_spark.serve.delta import Opened
from vizrec_spark.serve.pool import Pool

log = logging.getLogger("vizrec")

SIZES: Final = (160, 320, 640)
"""Longer sides, in pixels, in which thumbnails are made; no others, so that nobody can fill the cache with sizes."""

_NONE = -1


@dataclass(frozen=True)
class PictureIndex:
    """Where the first picture (by path) of each of the n items lies; `file` is −1 for an item without one.

    `sha256` (n, 64) holds the hash as ASCII. Nothing of the pictures themselves is in memory.
    """

    table: Opened | None
    file: NDArray[np.int32]
    group: NDArray[np.int32]
    row: NDArray[np.int64]
    sha256: NDArray[np.uint8]

    def has(self, item: int) -> bool:
        """Whether the item has a picture."""
        return bool(self.file[item] != _NONE)

    def content_hash(self, item: int) -> str:
        """SHA-256 of the item's picture; only for one that `has` a picture."""
        return self.sha256[item].tobytes().decode("ascii")

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return int(self.file.nbytes + self.group.nbytes + self.row.nbytes + self.sha256.nbytes)


@dataclass(frozen=True)
class PictureRows:
    """Every row of table `images` of an item of the catalogue, ordered by item and path."""

    item: NDArray[np.int32]
    sha256: pa.Array
    file: NDArray[np.int32]
    group: NDArray[np.int32]
    row: NDArray[np.int64]


def read_picture_rows(images: Opened | None, catalogue: Catalogue) -> PictureRows:
    """Which pictures each item has; their bytes are not read. Raises: TableError."""
    item, path, sha, file, group, row = [], [], [], [], [], []
    for piece in () if images is None else images.pieces(("item_id", "path", "sha256")):
        item.append(catalogue.ids.positions(piece.data["item_id"]))
        path += piece.data["path"].chunks
        sha += piece.data["sha256"].chunks
        file.append(np.full(len(piece.rows), piece.file, dtype=np.int32))
        group.append(np.full(len(piece.rows), piece.group, dtype=np.int32))
        row.append(piece.rows)
    if not item:
        nothing = np.zeros(0, dtype=np.int32)
        return PictureRows(nothing, pa.array([], pa.string()), nothing, nothing, nothing.astype(np.int64))
    at = np.concatenate(item)
    ordered = pa.table({"item": at, "path": pa.chunked_array(path), "number": np.arange(len(at))})
    order = ordered.sort_by([("item", "ascending"), ("path", "ascending")])["number"].to_numpy()
    order = order[at[order] >= 0]
    return PictureRows(
        at[order],
        pa.chunked_array(sha).take(pa.array(order)).combine_chunks(),
        np.concatenate(file)[order],
        np.concatenate(group)[order],
        np.concatenate(row)[order],
    )


def index_pictures(images: Opened | None, rows: PictureRows, n_items: int) -> PictureIndex:
    """The first picture of each item."""
    item, first = np.unique(rows.item, return_index=True)
    file = np.full(n_items, _NONE, dtype=np.int32)
    group, row = np.zeros(n_items, dtype=np.int32), np.zeros(n_items, dtype=np.int64)
    sha256 = np.zeros((n_items, 64), dtype=np.uint8)
    file[item], group[item], row[item] = rows.file[first], rows.group[first], rows.row[first]
    if len(first):
        texts = rows.sha256.take(pa.array(first)).cast(pa.binary(64))
        sha256[item] = np.frombuffer(texts.buffers()[1], dtype=np.uint8).reshape(-1, 64)[: len(first)]
    return PictureIndex(images, file, group, row, sha256)


@dataclass
class _Wanted:
    """A thumbnail that somebody waits for."""

    row: int
    key: tuple[str, int]
    done: asyncio.Future[bytes | None] = field(repr=False)


class Thumbnails:
    """Thumbnails by content and size, of which the latest used are kept.

    A row group is read once for all that is wanted of it: a page asks for dozens of pictures at a time, and Parquet has
    no way to one of them but past those before it.
    """

    def __init__(self, pool: Pool, cache_bytes: int, max_pixels: int) -> None:
        self._pool, self._limit, self._max_pixels = pool, cache_bytes, max_pixels
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._bytes = 0
        self._coming: dict[tuple[str, int], asyncio.Future[bytes | None]] = {}
        self._lock = threading.Lock()
        self._wanted: dict[tuple[int, int, int], list[_Wanted]] = {}

    async def get(self, index: PictureIndex, item: int, size: int) -> bytes | None:
        """The JPEG of an item that `index` has; None where the file is gone or cannot be shown.

        Raises: Busy when too many pictures are waited for.
        """
        key = (index.content_hash(item), size)
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        coming = self._coming.get(key)
        if coming is None:
            coming = self._ask(index, item, key)
        return await asyncio.shield(coming)

    def _ask(self, index: PictureIndex, item: int, key: tuple[str, int]) -> asyncio.Future[bytes | None]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes | None] = loop.create_future()
        place = (id(index), int(index.file[item]), int(index.group[item]))
        wanted = _Wanted(int(index.row[item]), key, future)
        with self._lock:
            queue = self._wanted.get(place)
            if queue is not None:
                queue.append(wanted)
        if queue is None:
            # One that reads is enough for all who come before it has begun.
            with self._lock:
                self._wanted[place] = [wanted]
            try:
                self._pool.submit(self._read, index, place, loop)
            except BaseException:
                with self._lock:
                    del self._wanted[place]
                raise
        self._coming[key] = future
        return future

    def _read(
        self, index: PictureIndex, place: tuple[int, int, int], loop: asyncio.AbstractEventLoop
    ) -> None:
        """In a worker: reads a row group as far as need be and makes what is wanted of it."""
        with self._lock:
            wanted = self._wanted.pop(place)
        wanted.sort(key=lambda one: one.row)
        made: dict[tuple[str, int], bytes | None] = dict.fromkeys((one.key for one in wanted), None)
        try:
            assert index.table is not None  # it has a picture
            with index.table.filesystem.open_input_file(index.table.files[place[1]]) as stream:
                rest, first = list(wanted), 0
                for batch in pq.ParquetFile(stream).iter_batches(
                    32, row_groups=[place[2]], columns=["content"]
                ):
                    while rest and rest[0].row < first + len(batch):
                        one = rest.pop(0)
                        content = batch.column(0)[one.row - first].as_py()
                        small = thumbnail(content, one.key[1], self._max_pixels)
                        made[one.key] = None if small is None else small.jpeg
                    first += len(batch)
                    if not rest:
                        break
        except Exception as error:
            # A vacuum may have taken the file, as the next reload will know. Nobody may wait for ever.
            log.warning("serve: pictures cannot be read: %s: %s", type(error).__name__, str(error)[:300])
        finally:
            loop.call_soon_threadsafe(self._give, wanted, made)

    def _give(self, wanted: list[_Wanted], made: dict[tuple[str, int], bytes | None]) -> None:
        for one in wanted:
            jpeg = made[one.key]
            self._coming.pop(one.key, None)
            if jpeg is not None:
                self._keep(one.key, jpeg)
            if not one.done.done():
                one.done.set_result(jpeg)

    def _keep(self, key: tuple[str, int], jpeg: bytes) -> None:
        if key in self._kept:
            return
        self._kept[key] = jpeg
        self._bytes += len(jpeg)
        while self._bytes > self._limit:
            _, old = self._kept.popitem(last=False)
            self._bytes -= len(old)
