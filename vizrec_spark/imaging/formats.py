"""Which file formats are read, how each is recognised, and whether a file of one was cut short."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Literal, NamedTuple

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

EMPTY_FILE = "empty_file"
NOT_AN_IMAGE = "not_an_image"
TRUNCATED = "truncated"
DECOMPRESSION_BOMB = "decompression_bomb"
UNDECODABLE = "undecodable"

REASONS = (EMPTY_FILE, NOT_AN_IMAGE, TRUNCATED, DECOMPRESSION_BOMB, UNDECODABLE)


class Format(NamedTuple):
    """One file format: its name, the start of its files, Pillow's reader and the test for a missing end."""

    name: str
    signatures: tuple[bytes, ...]
    reader: type[ImageFile.ImageFile]
    cut_short: Callable[[bytes], bool]


def _riff_cut_short(content: bytes) -> bool:
    return len(content) < 12 or len(content) < 8 + struct.unpack_from("<I", content, 4)[0]


def _bmp_cut_short(content: bytes) -> bool:
    return len(content) < 26 or len(content) < struct.unpack_from("<I", content, 2)[0]


def _tiff_cut_short(content: bytes) -> bool:
    """The directory, which libtiff puts last, lies beyond the end (classic TIFF only)."""
    if len(content) < 8:
        return True
    order = "<" if content[:2] == b"II" else ">"
    (version, offset) = struct.unpack_from(f"{order}HI", content, 2)
    return version == 42 and offset + 2 > len(content)


_BMP_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})

# The readers are called directly: `PIL.Image.open` would apply a limit on pixels that is global to the process.
JPEG = Format("JPEG", (b"\xff\xd8\xff",), JpegImagePlugin.JpegImageFile, lambda c: b"\xff\xd9" not in c[-64:])
FORMATS = (
    JPEG,
    Format("PNG", (b"\x89PNG\r\n\x1a\n",), PngImagePlugin.PngImageFile, lambda c: b"IEND" not in c[-64:]),
    Format("WEBP", (b"RIFF",), WebPImagePlugin.WebPImageFile, _riff_cut_short),
    Format("GIF", (b"GIF87a", b"GIF89a"), GifImagePlugin.GifImageFile, lambda c: b";" not in c[-64:]),
    Format("BMP", (b"BM",), BmpImagePlugin.BmpImageFile, _bmp_cut_short),
    Format(
        "TIFF",
        (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
        TiffImagePlugin.TiffImageFile,
        _tiff_cut_short,
    ),
)


def recognise(content: bytes) -> Format | None:
    """The format whose files start like `content`, or None."""
    for candidate in FORMATS:
        if content.startswith(candidate.signatures):
            # RIFF also holds sound and film, and any text may start with BM.
            if candidate.name == "WEBP" and content[8:12] != b"WEBP":
                return None
            if candidate.name == "BMP" and int.from_bytes(content[14:18], "little") not in _BMP_HEADER_SIZES:
                return None
            return candidate
    return None


def tiff_tile(image: ImageFile.ImageFile, content: bytes) -> tuple[int, int] | None:
    """(width, height) of the tiles of a TIFF opened from `content`; None where it has none, or the file is of another
    format.

    Raises: ValueError where the file gives them as numbers of a kind that Pillow passes over, and libtiff does not.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return None
    tags = (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)
    width, height = (image.tag_v2.get(tag) for tag in tags)
    if isinstance(width, int) and isinstance(height, int):
        return width, height
    if any(_in_first_directory(content, tag) for tag in tags):
        raise ValueError("the size of its tiles is no plain number")
    return None


def _in_first_directory(content: bytes, tag: int) -> bool:
    """Whether the first directory of a TIFF has an entry for `tag`. Layout: TIFF 6.0, section 2, and of BigTIFF, whose
    numbers are twice as long, the design of libtiff."""
    order: Literal["little", "big"] = "little" if content[:2] == b"II" else "big"
    big = int.from_bytes(content[2:4], order) == 43
    start, counter, entry = (8, 8, 20) if big else (4, 2, 12)
    at = int.from_bytes(content[start : start + (8 if big else 4)], order)
    first = at + counter
    n = int.from_bytes(content[at:first], order)
    entries = (content[first + i * entry :][:2] for i in range(min(n, (len(content) - first) // entry)))
    return any(int.from_bytes(two, order) == tag for two in entries)


def webp_canvas(content: bytes) -> tuple[int, int] | None:
    """(width, height) from a WebP header, or None where it has none.

    Read here because WebP's reader reserves the whole canvas before it can be asked for the size. Layout of
    the three kinds of header: RFC 9649, section 2.
    """
    kind, body = content[12:16], content[20:30]
    if len(body) < 10:
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L" and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    return None
