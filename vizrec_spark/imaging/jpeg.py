"""JPEG by libjpeg-turbo: decoded at the smallest DCT scale that keeps the fidelity, or left to Pillow."""

from __future__ import annotations

import re

import numpy as np
import simplejpeg
from PIL import Image

SCALED_FROM = 3
"""A JPEG is decoded at a reduced DCT scale only if both sides stay this many times larger than the target."""

# Halves only: libjpeg's other scales (7/8, 5/8, ...) cost more time and more fidelity.
_DENOMINATORS = (8, 4, 2)

# Pillow reads an orientation from EXIF, and where that has none from XMP.
_ORIENTATION_MARKS = (b"Exif\x00\x00", b"Orientation")
_PLAIN = frozenset({"Gray", "YCbCr", "RGB"})


# A marker between the entropy-coded bytes, in which FF is followed by 00 or a restart marker.
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN, _TEMPORARY = 0xD8, 0xD9, 0xDA, 0x01


def count_scans(content: bytes, most: int) -> int:
    """The scans of a JPEG, as far as `most` + 1: each is decoded over the whole picture, however few bytes it has."""
    if content.count(b"\xff\xda") <= most:  # which may also stand in metadata, or behind the picture
        return 0
    scans, at = 0, 2
    while scans <= most and (found := _MARKER.search(content, at)) is not None:
        marker, at = found[1][0], found.end()
        if marker == _END_OF_IMAGE:
            break
        scans += marker == _START_OF_SCAN
        if marker not in (_START_OF_IMAGE, _TEMPORARY):
            at += max(int.from_bytes(content[at : at + 2]), 2)
    return scans


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


def decode_jpeg(content: bytes, stored: tuple[int, int], target: tuple[int, int]) -> Image.Image | None:
    """The picture as stored (not turned), in mode RGBX, at the size that `scaled_size` gives for `stored` (from
    `jpeg_size`) and `target`, both (width, height). None where libjpeg has as much as a warning: Pillow then decides.

    Strict: a file cut short, for one, warns. Accepted are also sound pictures whose metadata Pillow's reader refuses.
    """
    width, height = scaled_size(stored, target)
    try:
        pixels = simplejpeg.decode_jpeg(content, "RGBX", min_width=width, min_height=height)
    except ValueError:
        return None
    # Four bytes a pixel is how Pillow keeps colour, so it can resize these without a copy.
    rows, columns = pixels.shape[:2]
    return Image.frombuffer("RGBX", (columns, rows), np.ascontiguousarray(pixels), "raw", "RGBX", 0, 1)


def scaled_size(stored: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """The smallest of 1, 1/2, 1/4 and 1/8 of `stored` that is at least `SCALED_FROM` times `target` both ways."""
    for denominator in _DENOMINATORS:
        width, height = (-(-side // denominator) for side in stored)
        if width >= SCALED_FROM * target[0] and height >= SCALED_FROM * target[1]:
            return width, height
    return stored
