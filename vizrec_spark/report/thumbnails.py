"""Pictures small enough to stand in the page."""

from __future__ import annotations

from base64 import b64encode

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import BinaryType, IntegerType, StructField, StructType

from vizrec_spark.imaging import Thumbnail, thumbnail

_SCHEMA = StructType(
    [
        StructField("jpeg", BinaryType(), False),
        StructField("width", IntegerType(), False),
        StructField("height", IntegerType(), False),
    ]
)


def thumbnail_of(content: Column, size: int, max_pixels: int) -> Column:
    """struct<jpeg binary, width int, height int> of a column of compressed pictures; null where `thumbnail` is.

    Made by the executors, so that no full picture travels to the driver.
    """

    def small(picture: bytes | None) -> tuple[bytes, int, int] | None:
        made = None if picture is None else thumbnail(bytes(picture), size, max_pixels)
        return None if made is None else (made.jpeg, made.width, made.height)

    # Called deterministic, a filter on what it gives would be moved below a join, and every picture made small for it.
    return F.udf(small, _SCHEMA, useArrow=False).asNondeterministic()(content)


def data_uri(picture: Thumbnail) -> str:
    """``data:image/jpeg;base64,...``"""
    return f"data:image/jpeg;base64,{b64encode(picture.jpeg).decode('ascii')}"
