"""JPEG by libjpeg-turbo: decoded at the smallest DCT scale that keeps the fidelity, or left to Pillow."""

from __future__ import annotations

import numpy as np
import simplejpeg
from PIL import Image

SCALED_FROM = 2.0
"""A JPEG is decoded at a reduced DCT scale only if both sides stay this many times larger than the target."""

# Pillow reads an orientation from EXIF, and where that has none from XMP.
_ORIENTATION_MARKS = (b"Exif\x00\x00", b"Orientation")
_PLAIN = frozenset({"Gray", "YCbCr", "RGB"})


def jpeg_size(content: bytes) -> tuple[int, int] | None:
    """(width, height) as the header has it, or None where the file is one for Pillow: a damaged header, CMYK."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
    except ValueError:
        return None
    return (width, height) if colours in _PLAIN else None


def may_be_turned(content: bytes) -> bool:
    """False where no EXIF or XMP block can hold an orientation, which spares reading them."""
    return any(mark in content for mark in _ORIENTATION_MARKS)


def decode_jpeg(content: bytes, target: tuple[int, int]) -> Image.Image | None:
    """The picture as stored (not turned), no smaller than `SCALED_FROM` times `target` = (width, height) where it
    is larger; a view in mode RGBX. None where libjpeg has as much as a warning: Pillow then decides.

    Strict, so nothing that Pillow refuses is accepted here: a file cut short, for one, warns.
    """
    width, height = target
    try:
        pixels = simplejpeg.decode_jpeg(
            content, "RGBX", min_width=int(SCALED_FROM * width), min_height=int(SCALED_FROM * height)
        )
    except ValueError:
        return None
    # Four bytes a pixel is how Pillow keeps colour, so it can resize these without a copy.
    rows, columns = pixels.shape[:2]
    return Image.frombuffer("RGBX", (columns, rows), np.ascontiguousarray(pixels), "raw", "RGBX", 0, 1)
