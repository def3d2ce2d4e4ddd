"""Labelled pictures as pixels on the driver's disk: streamed from Delta as Arrow batches, decoded, mapped by rows."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.adapt.spool import ROOMIER, arrow_batches
from vizrec_spark.errors import ImageRefused
from vizrec_spark.imaging import load_rgb
from vizrec_spark.scratch import make_file
from vizrec_spark.stage import log

Pixels = NDArray[np.uint8]


class Placed:
    """Pictures of some of n rows by the numbers of these rows. pixels: (m, height, width, 3); place: (n,), where in
    `pixels` a row is, -1 where it is not."""

    def __init__(self, pixels: Pixels, place: NDArray[np.int64]) -> None:
        self._pixels, self._place = pixels, place
        self.shape, self.dtype = (len(place), *pixels.shape[1:]), pixels.dtype

    def __getitem__(self, rows: NDArray[np.int64]) -> Pixels:
        """Raises: IndexError for a row that has none."""
        places = self._place[rows]
        if (places < 0).any():
            raise IndexError("a row without a picture")
        return np.asarray(self._pixels[places])


_AT_A_TIME = 64  # pictures that leave Arrow together
_TOLD = 5000


def contents_of(images: DataFrame, sha256: pa.StringArray) -> DataFrame:
    """sha256 string, content binary of the pictures `sha256`, each once: of equal ones the least (item_id, path).

    images: item_id, path, sha256, content. Only keys are compared and moved.
    """
    names = F.broadcast(images.sparkSession.createDataFrame(pa.table({"sha256": sha256})))
    keys = images.select("sha256", F.struct("item_id", "path").alias("key")).join(
        names, "sha256", "left_semi"
    )
    chosen = keys.groupBy("sha256").agg(F.min("key").alias("key")).select("sha256", "key.item_id", "key.path")
    found = images.select("sha256", "item_id", "path", "content")
    return found.join(F.broadcast(chosen), chosen.columns, "left_semi").select("sha256", "content")


def spool_pixels(
    contents: DataFrame, sha256: pa.StringArray, size: tuple[int, int], *, max_pixels: int, threads: int, file: Path
) -> tuple[Pixels, NDArray[np.bool_]]:  # fmt: skip
    """Pictures (n, *size, 3) in the order of `sha256`, through `file`, and which of them could be decoded, (n,).

    contents: sha256, content. They are decoded as stage `embed` does it, on `threads` threads of the driver: it is
    compressed pictures that travel, in Arrow batches, and a few of them are in memory at a time. The file takes
    3 bytes a pixel. Runs a job. Raises: DiskSpaceError.
    """
    make_file(file, 3 * len(sha256) * size[0] * size[1], ROOMIER)
    pixels = np.memmap(file, np.uint8, "r+", shape=(len(sha256), *size, 3))
    there = np.zeros(len(sha256), bool)
    told = 0
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        decode = partial(_decoded, size, max_pixels)
        for names, bytes_of in _pieces(contents):
            rows = pc.index_in(names, value_set=sha256).to_numpy()
            for row, picture in zip(rows, pool.map(decode, bytes_of), strict=True):
                if picture is not None:
                    pixels[row], there[row] = picture, True
            if (done := int(there.sum())) - told >= _TOLD:
                told = done
                log.info("adapt: %s of %s pictures decoded", f"{done:,}", f"{len(sha256):,}")
    pixels.flush()
    return np.memmap(file, np.uint8, "r", shape=pixels.shape), there


def _pieces(contents: DataFrame) -> Iterator[tuple[pa.StringArray, list[bytes]]]:
    for batch in arrow_batches(contents.select("sha256", "content")):
        for start in range(0, batch.num_rows, _AT_A_TIME):
            piece = batch.slice(start, _AT_A_TIME)
            yield piece.column(0), piece.column(1).to_pylist()


def _decoded(size: tuple[int, int], max_pixels: int, content: bytes | None) -> Pixels | None:
    try:
        return load_rgb(content or b"", size, max_pixels=max_pixels)
    except ImageRefused:
        return None
