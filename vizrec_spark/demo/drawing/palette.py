"""Colours of one product: its own, the accent of its pattern, and the shades used for details."""

from __future__ import annotations

import random
from dataclasses import dataclass

from vizrec_spark.demo.vocabulary import RGB_OF_COLOUR

RGB = tuple[int, int, int]

WHITE: RGB = (250, 249, 246)
CREAM: RGB = (247, 238, 220)
INK: RGB = (38, 40, 48)
GOLD: RGB = (206, 166, 84)
STEEL: RGB = (186, 190, 196)
WOOD: RGB = (166, 116, 74)
LEATHER: RGB = (116, 72, 46)
RUBBER: RGB = (240, 238, 232)


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """``first`` with ``share`` (0 to 1) of ``second``."""
    r, g, b = (round(p + (q - p) * share) for p, q in zip(first, second, strict=True))
    return (r, g, b)


def darker(colour: RGB, share: float) -> RGB:
    """Towards black by ``share``."""
    return mix(colour, (0, 0, 0), share)


def lighter(colour: RGB, share: float) -> RGB:
    """Towards white by ``share``."""
    return mix(colour, (255, 255, 255), share)


def luminance(colour: RGB) -> float:
    """Perceived brightness, 0 to 255 (the weights of ITU-R BT.601)."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


@dataclass(frozen=True)
class Palette:
    """``base`` is the product's colour; ``accent`` and ``second`` belong to its pattern; ``trim`` to its parts."""

    base: RGB
    accent: RGB
    second: RGB
    trim: RGB
    seam: RGB
    deep: RGB

    @classmethod
    def of(cls, colour: str, rng: random.Random) -> Palette:
        """The palette of a named colour; the seed moves it a little, as lots of dye differ."""
        named = RGB_OF_COLOUR[colour]
        light = rng.uniform(-0.07, 0.07)
        r, g, b = (min(255, max(0, value + rng.randint(-5, 5))) for value in named)
        base = lighter((r, g, b), light) if light > 0 else darker((r, g, b), -light)
        if luminance(base) > 150:
            accents = [darker(base, 0.5), mix(base, (60, 72, 110), 0.72), mix(base, (140, 60, 50), 0.6)]
            if luminance(base) < 215:
                accents.append(WHITE)
        elif luminance(base) > 85:
            accents = [WHITE, CREAM, darker(base, 0.55)]
        else:
            accents = [WHITE, CREAM, lighter(base, 0.55)]
        accent = rng.choice(accents)
        second = mix(accent, base, 0.45)
        trim = darker(base, 0.35) if luminance(base) > 70 else lighter(base, 0.16)
        seam = darker(base, 0.28) if luminance(base) > 70 else lighter(base, 0.28)
        return cls(base, accent, second, trim, seam, darker(base, 0.55))
