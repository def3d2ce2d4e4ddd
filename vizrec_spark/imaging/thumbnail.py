"""Pictures made small, for pages."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO

from PIL import Image

from vizrec_spark.errors import ImageRefused
from vizrec_spark.imaging.decode import DEFAULT_MAX_PIXELS, inspect_image, load_rgb

_QUALITY = 82


@dataclass(frozen=True)
class Thumbnail:
    """A small picture: its JPEG file and its size in pixels."""

    jpeg: bytes = field(repr=False)
    width: int
    height: int


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
