"""Any Pillow mode to 8-bit RGB: palette, grey, CMYK, 16-bit and float samples, transparency on white."""

from __future__ import annotations

import numpy as np
from PIL import Image

_ALPHA_MODES = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})


def to_rgb(image: Image.Image) -> Image.Image:
    """`image` as mode RGB: transparent parts composed on white, wide samples scaled to 8 bits.

    Raises: whatever Pillow raises on data it cannot convert.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F" or image.mode.startswith("I"):
        return _wide_to_grey(image).convert("RGB")
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        # PA and La have no direct way to RGBA in Pillow; both go through their own straight-alpha neighbour.
        straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
        layered = (image.convert(straight) if straight else image).convert("RGBA")
        white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        white.alpha_composite(layered)
        return white.convert("RGB")
    return image.convert("RGB")


def _wide_to_grey(image: Image.Image) -> Image.Image:
    """Samples of 16 or 32 bits, or floats, to 8 bits (Pillow's own conversion clips them at 255).

    16-bit files use the whole range 0..65535. Wider and float samples have no agreed range: up to 1 is taken
    as 0..1, up to 255 as 8-bit, up to 65535 as 16-bit, and above that the largest sample becomes white.
    """
    samples = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if image.mode.startswith("I;16"):
        white = 65535.0
    else:
        top = float(samples.max(initial=0.0))
        steps = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        white = next((step for step in steps if top <= step), top)
    grey = np.clip(np.rint(samples * (255.0 / white)), 0, 255).astype(np.uint8)
    return Image.fromarray(grey)
