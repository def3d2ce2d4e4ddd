"""Decode a compressed picture once, safely: facts about it, or its pixels at the size a model wants."""

from __future__ import annotations

import contextlib
from io import BytesIO
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from vizrec_spark.errors import ImageRefused
from vizrec_spark.imaging import formats
from vizrec_spark.imaging.colour import to_rgb
from vizrec_spark.imaging.jpeg import count_scans, decode_jpeg, jpeg_size, may_be_turned

DEFAULT_MAX_PIXELS = 50_000_000
"""Largest width × height that is decoded, above any product photo.

Decoding takes 10 bytes a pixel at most, 500 MB here, and WebP, whose reader keeps the picture four times, 17, 850 MB.
"""

_ORIENTATION_TAG = 0x0112
_MOST_SCANS = 100  # programs that write progressive files make about ten
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset({5, 6, 7, 8})


class ImageInfo(NamedTuple):
    """`width` and `height` in pixels as a viewer shows the picture (EXIF orientation applied), and `format`."""

    width: int
    height: int
    format: str


def inspect_image(content: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> ImageInfo:
    """Decode the whole picture (the first frame of an animated one) and tell its size and format.

    Raises: ImageRefused with one of `REASONS`; nothing else, whatever the bytes are.
    """
    image, kind = _decoded(content, max_pixels)
    width, height = image.size
    if _orientation(image) in _SIDEWAYS:
        width, height = height, width
    return ImageInfo(width, height, kind)


def load_rgb(
    content: bytes, size: tuple[int, int], *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> npt.NDArray[np.uint8]:
    """The picture as uint8 RGB of shape (height, width, 3), with `size` = (height, width).

    Upright by its EXIF orientation, transparency composed on white, first frame of an animated file, resized
    straight to `size` (the aspect ratio is not kept) by Pillow's antialiased bilinear filter: the pixels of
    ``keras.utils.load_img(..., target_size=size, interpolation="bilinear")`` on an upright RGB picture. A JPEG
    at least six times as large as `size` both ways is decoded at a reduced DCT scale: on photographs its pixels then
    differ by 2 of 255 at most in the mean of a picture, 0.5 in that of all, and at edges by up to 30.

    Raises: ImageRefused as `inspect_image`.
    """
    if (fast := _fast_jpeg(content, size, max_pixels)) is not None:
        return fast
    image, kind = _decoded(content, max_pixels)
    height, width = size
    turn = _orientation(image)
    try:
        # Turning after the resize gives the same pixels as before it, on far fewer of them.
        target = (height, width) if turn in _SIDEWAYS else (width, height)
        small = to_rgb(image).resize(target, Image.Resampling.BILINEAR)
        if turn in _UPRIGHT:
            small = small.transpose(_UPRIGHT[turn])
        return np.asarray(small, dtype=np.uint8)
    except Exception as error:
        raise _undecodable(kind, error) from None


def _fast_jpeg(content: bytes, size: tuple[int, int], max_pixels: int) -> npt.NDArray[np.uint8] | None:
    """`load_rgb` of a sound RGB or grey JPEG; None for all else, which the general way accepts or refuses.

    Raises: ImageRefused for a decompression bomb.
    """
    if not content.startswith(b"\xff\xd8\xff") or (stored := jpeg_size(content)) is None:
        return None
    _refuse_bomb(stored, max_pixels)
    _refuse_scans(content)
    turn = 1
    if may_be_turned(content):
        with contextlib.suppress(Exception):  # a header that only Pillow dislikes: it will say so below
            turn = _orientation(formats.JPEG.reader(BytesIO(content)))
    height, width = size
    target = (height, width) if turn in _SIDEWAYS else (width, height)
    image = decode_jpeg(content, stored, target)
    if image is None:
        return None
    small = image.resize(target, Image.Resampling.BILINEAR)
    if turn in _UPRIGHT:
        small = small.transpose(_UPRIGHT[turn])
    return np.ascontiguousarray(np.asarray(small)[..., :3])


def _decoded(content: bytes, max_pixels: int) -> tuple[ImageFile.ImageFile, str]:
    """The loaded picture and its format name. Pillow and its readers raise nearly every kind of exception
    on hostile bytes (struct.error, SyntaxError, OverflowError, MemoryError, ...), hence the wide nets."""
    if not content:
        raise ImageRefused(formats.EMPTY_FILE, "the file has no bytes")
    kind = formats.recognise(content)
    if kind is None:
        names = ", ".join(f.name for f in formats.FORMATS)
        raise ImageRefused(
            formats.NOT_AN_IMAGE, f"the first bytes are those of none of {names}: {content[:8].hex(' ')}"
        )
    if kind.name == "WEBP" and (canvas := formats.webp_canvas(content)) is not None:
        _refuse_bomb(canvas, max_pixels)
    try:
        image = kind.reader(BytesIO(content))
    except Exception as error:
        raise _refusal(kind, content, error, formats.NOT_AN_IMAGE) from None
    _refuse_bomb(image.size, max_pixels)
    if kind is formats.JPEG:
        _refuse_scans(content)
    try:
        tile = formats.tiff_tile(image, content)
    except ValueError as error:
        raise _refusal(kind, content, error, formats.UNDECODABLE) from None
    if tile is not None:
        _refuse_bomb(tile, max_pixels)  # libtiff decodes a tile whole, however little of it is in the picture
    try:
        image.load()
    except Exception as error:
        raise _refusal(kind, content, error, formats.UNDECODABLE) from None
    # Some readers correct the size while they decode.
    _refuse_bomb(image.size, max_pixels)
    return image, kind.name


def _refuse_bomb(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageRefused(formats.UNDECODABLE, f"the header says {width}×{height} pixels")
    if width * height > max_pixels:
        raise ImageRefused(
            formats.DECOMPRESSION_BOMB,
            f"the header says {width}×{height} = {width * height:,} pixels; at most {max_pixels:,} are decoded",
        )


def _refuse_scans(content: bytes) -> None:
    if count_scans(content, _MOST_SCANS) > _MOST_SCANS:
        raise ImageRefused(
            formats.DECOMPRESSION_BOMB,
            f"the JPEG has more than {_MOST_SCANS} scans, each of which is decoded over the whole picture",
        )


def _refusal(kind: formats.Format, content: bytes, error: Exception, otherwise: str) -> ImageRefused:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return ImageRefused(formats.DECOMPRESSION_BOMB, _sentence(error))
    if "truncated" in str(error).lower() or kind.cut_short(content):
        return ImageRefused(formats.TRUNCATED, f"the {kind.name} data ends too early: {_sentence(error)}")
    if otherwise == formats.NOT_AN_IMAGE:
        return ImageRefused(
            otherwise, f"it starts like {kind.name} but has no valid header: {_sentence(error)}"
        )
    return _undecodable(kind.name, error)


def _undecodable(kind: str, error: Exception) -> ImageRefused:
    return ImageRefused(
        formats.UNDECODABLE, f"the {kind} header is valid, the data is not: {_sentence(error)}"
    )


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300] if str(error) else type(error).__name__


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 where it is missing or its block is corrupt, which is no reason to refuse."""
    with contextlib.suppress(Exception):
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    return 1
