"""Pictures small enough to stand in the page."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO

from PIL import Image
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import BinaryType, IntegerType, StructField, StructType

from vizrec_spark.errors import ImageRefused
from vizrec_spark.imaging import DEFAULT_MAX_PIXELS, inspect_image, load_rgb
from vizrec_spark.report.model import Thumbnail

_QUALITY = 82
_SCHEMA = StructType(
    [
        StructField("jpeg", BinaryType(), False),
        StructField("width", IntegerType(), False),
        StructField("height", IntegerType(), False),
    ]
)


def thumbnail(content: bytes, size: int, max_pixels: int = DEFAULT_MAX_PIXELS) -> Thumbnail | None:
    """The picture as a JPEG whose longer side has at most `size` pixels, upright, its aspect ratio kept.

    None where the bytes are no picture that can be shown.
    """
    try:
        upright = inspect_image(content, max_pixels=max_pixels)
        scale = min(1.0, size / max(upright.width, upright.height))
        width, height = (max(1, round(side * scale)) for side in (upright.width, upright.height))
        pixels = load_rgb(content, (height, width), max_pixels=max_pixels)
    except ImageRefused:
        return None
    out = BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=_QUALITY, optimize=True)
    return Thumbnail(out.getvalue(), width, height)


def thumbnail_of(content: Column, size: int, max_pixels: int) -> Column:
    """struct<jpeg binary, width int, height int> of a column of compressed pictures; null where `thumbnail` is.

    Made by the executors, so that no full picture travels to the driver.
    """

    def small(picture: bytes | None) -> tuple[bytes, int, int] | None:
        made = None if picture is None else thumbnail(bytes(picture), size, max_pixels)
        return None if made is None else (made.jpeg, made.width, made.height)

    return F.udf(small, _SCHEMA, useArrow=False)(content)


def data_uri(picture: Thumbnail) -> str:
    """``data:image/jpeg;base64,...``"""
    return f"data:image/jpeg;base64,{b64encode(picture.jpeg).decode('ascii')}"
