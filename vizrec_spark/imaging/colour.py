"""Any Pillow mode to 8-bit RGB: palette, grey, CMYK, 16-bit and float samples, transparency on white."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

_ALPHA_MODES = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})
_TILE = 1 << 16  # pixels that are converted at once: what that takes beside the picture is 3 MB

_Box = tuple[int, int, int, int]


def to_rgb(image: Image.Image) -> Image.Image:
    """`image` as mode RGB: transparent parts composed on white, wide samples scaled to 8 bits.

    Takes 4 bytes a pixel (Pillow's RGB) beside `image` itself, whatever its mode.
    Raises: whatever Pillow raises on data it cannot convert.
    """
    wide = image.mode == "F" or image.mode.startswith("I")
    layered = image.mode in _ALPHA_MODES or "transparency" in image.info
    if not wide and not layered:
        return image if image.mode == "RGB" else image.convert("RGB")
    white = _white(image) if wide else 0.0
    whole = Image.new("RGB", image.size)
    for box in _tiles(image.size):
        tile = image.crop(box)
        whole.paste(_to_grey(tile, white).convert("RGB") if wide else _on_white(tile), box)
    return whole


def _on_white(image: Image.Image) -> Image.Image:
    # PA and La have no direct way to RGBA in Pillow; both go through their own straight-alpha neighbour.
    straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
    layered = (image.convert(straight) if straight else image).convert("RGBA")
    white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
    white.alpha_composite(layered)
    return white.convert("RGB")


def _to_grey(image: Image.Image, white: float) -> Image.Image:
    """Samples of 16 or 32 bits, or floats, to 8 bits (Pillow's own conversion clips them at 255)."""
    grey = np.clip(np.rint(_samples(image) * (255.0 / white)), 0, 255).astype(np.uint8)
    return Image.fromarray(grey)


def _white(image: Image.Image) -> float:
    """The sample that becomes white.

    16-bit files use the whole range 0..65535. Wider and float samples have no agreed range: up to 1 is taken
    as 0..1, up to 255 as 8-bit, up to 65535 as 16-bit, and above that the largest sample becomes white.
    """
    if image.mode.startswith("I;16"):
        return 65535.0
    top = max(float(_samples(image.crop(box)).max(initial=0.0)) for box in _tiles(image.size))
    steps = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    return next((step for step in steps if top <= step), top)


def _samples(image: Image.Image) -> npt.NDArray[np.float64]:
    return np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _tiles(size: tuple[int, int]) -> Iterator[_Box]:
    """Boxes (left, upper, right, lower) that cover a picture of `size` = (width, height) once."""
    width, height = size
    columns = min(width, _TILE)
    rows = max(_TILE // columns, 1)
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield left, top, min(left + columns, width), min(top + rows, height)
