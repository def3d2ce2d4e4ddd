"""The words of the generated shop: kinds of product, colours with their families, and patterns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Kind:
    """A kind of product: its name, the group of kinds it belongs to and its typical price in euros."""

    name: str
    group: str
    typical_price: float


@dataclass(frozen=True)
class Colour:
    """A named colour: sRGB value (0 to 255) and the family of colours that people would put it in."""

    name: str
    rgb: tuple[int, int, int]
    family: str


KINDS: Final = (
    Kind("t-shirt", "clothing", 22.0),
    Kind("dress", "clothing", 65.0),
    Kind("trousers", "clothing", 55.0),
    Kind("sneaker", "footwear", 80.0),
    Kind("boot", "footwear", 120.0),
    Kind("handbag", "bags", 95.0),
    Kind("backpack", "bags", 70.0),
    Kind("hat", "accessories", 30.0),
    Kind("watch", "accessories", 140.0),
    Kind("umbrella", "accessories", 25.0),
    Kind("mug", "home", 12.0),
    Kind("lamp", "home", 75.0),
    Kind("chair", "home", 240.0),
    Kind("cushion", "home", 28.0),
)

COLOURS: Final = (
    Colour("red", (200, 44, 48), "warm"),
    Colour("orange", (234, 124, 40), "warm"),
    Colour("yellow", (242, 198, 58), "warm"),
    Colour("green", (66, 142, 76), "cool"),
    Colour("teal", (34, 142, 146), "cool"),
    Colour("blue", (58, 112, 204), "cool"),
    Colour("navy", (36, 50, 98), "cool"),
    Colour("purple", (120, 74, 160), "cool"),
    Colour("pink", (236, 140, 172), "warm"),
    Colour("brown", (124, 80, 52), "earth"),
    Colour("beige", (212, 188, 150), "earth"),
    Colour("black", (46, 46, 50), "mono"),
    Colour("grey", (140, 144, 150), "mono"),
    Colour("white", (244, 243, 240), "mono"),
)

PATTERNS: Final = ("plain", "stripes", "dots", "checks", "chevron", "floral", "diamonds")

KIND_NAMES: Final = tuple(kind.name for kind in KINDS)
COLOUR_NAMES: Final = tuple(colour.name for colour in COLOURS)
FAMILIES: Final = tuple(dict.fromkeys(colour.family for colour in COLOURS))
FAMILY_OF_COLOUR: Final = {colour.name: colour.family for colour in COLOURS}
RGB_OF_COLOUR: Final = {colour.name: colour.rgb for colour in COLOURS}

# How a pattern is said before the kind: "Red striped mug".
PATTERN_ADJECTIVES: Final = {
    "plain": "",
    "stripes": "striped",
    "dots": "dotted",
    "checks": "checked",
    "chevron": "chevron",
    "floral": "floral",
    "diamonds": "diamond",
}
