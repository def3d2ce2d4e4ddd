"""Generates the products of a shop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vizrec_spark.demo.vocabulary import (
    COLOUR_NAMES,
    FAMILIES,
    FAMILY_OF_COLOUR,
    KIND_NAMES,
    KINDS,
    PATTERN_ADJECTIVES,
    PATTERNS,
)
from vizrec_spark.errors import InputError

DAY: Final = 86_400
END: Final = 1_751_328_000  # 2025-07-01T00:00:00Z: the shop's log ends here, whenever it is generated
WINDOW_DAYS: Final = 90
START: Final = END - WINDOW_DAYS * DAY

_PLAIN_SHARE = 0.34
_NEWCOMERS_FROM = END - 5 * DAY

Codes = NDArray[np.int16]


@dataclass(frozen=True)
class Product:
    """One product. ``circle`` is hidden taste: neither the picture nor a catalogue column tells it."""

    item_id: str
    kind: str
    colour: str
    pattern: str
    circle: int
    title: str
    price: float
    added_at: int
    """Epoch seconds."""
    is_new: bool
    """Added after the last event: nobody has touched it."""
    image: str
    """Path of the picture below the shop's folder; empty where there is none."""

    @property
    def family(self) -> str:
        """The family of its colour."""
        return FAMILY_OF_COLOUR[self.colour]


@dataclass(frozen=True)
class Catalogue:
    """All products as columns of length n: codes are positions in the tuples of ``vocabulary``."""

    item_id: NDArray[np.str_]
    kind: Codes
    colour: Codes
    pattern: Codes
    circle: Codes
    price: NDArray[np.float64]
    added_at: NDArray[np.int64]
    is_new: NDArray[np.bool_]
    has_picture: NDArray[np.bool_]
    popularity: NDArray[np.float64]
    """Relative weight of a product apart from taste, long-tailed, sums to 1."""
    n_circles: int

    def __len__(self) -> int:
        return len(self.item_id)

    def __getitem__(self, position: int) -> Product:
        kind, colour = KIND_NAMES[self.kind[position]], COLOUR_NAMES[self.colour[position]]
        pattern, item_id = PATTERNS[self.pattern[position]], str(self.item_id[position])
        return Product(
            item_id=item_id,
            kind=kind,
            colour=colour,
            pattern=pattern,
            circle=int(self.circle[position]),
            title=_title(kind, colour, pattern),
            price=float(self.price[position]),
            added_at=int(self.added_at[position]),
            is_new=bool(self.is_new[position]),
            image=image_path(item_id) if self.has_picture[position] else "",
        )

    def __iter__(self) -> Iterator[Product]:
        return (self[position] for position in range(len(self)))

    @property
    def family(self) -> Codes:
        """Codes of the colour families (positions in ``vocabulary.FAMILIES``), shape (n,)."""
        return _FAMILY_CODE[self.colour]

    def to_frame(self) -> pd.DataFrame:
        """What the shop publishes: item_id, title, kind, colour, pattern, price, added_at (ISO 8601), image."""
        kinds, colours, patterns = self._names()
        titles = _titles()[self.kind, self.colour, self.pattern]
        return pd.DataFrame(
            {
                "item_id": self.item_id,
                "title": titles,
                "kind": kinds,
                "colour": colours,
                "pattern": patterns,
                "price": self.price,
                "added_at": pd.to_datetime(self.added_at, unit="s").strftime("%Y-%m-%dT%H:%M:%SZ"),
                "image": [
                    image_path(item_id) if pictured else ""
                    for item_id, pictured in zip(self.item_id.tolist(), self.has_picture, strict=True)
                ],
            }
        )

    def truth_frame(self) -> pd.DataFrame:
        """What nobody but a test may know: item_id, kind, colour, family, pattern, circle, is_new."""
        kinds, colours, patterns = self._names()
        return pd.DataFrame(
            {
                "item_id": self.item_id,
                "kind": kinds,
                "colour": colours,
                "family": np.array(FAMILIES)[self.family],
                "pattern": patterns,
                "circle": self.circle.astype(int),
                "is_new": self.is_new,
            }
        )

    def _names(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        return (
            np.array(KIND_NAMES)[self.kind],
            np.array(COLOUR_NAMES)[self.colour],
            np.array(PATTERNS)[self.pattern],
        )


def generate_catalogue(
    n_items: int,
    *,
    seed: int = 7,
    n_circles: int = 5,
    new_share: float = 0.08,
    pictureless_share: float = 0.02,
) -> Catalogue:
    """Products with kind, colour, pattern, circle and popularity drawn independently of one another.

    ``new_share`` of the products came after the last event, ``pictureless_share`` have no picture (both 0 to 1).
    The same arguments give the same catalogue.

    Raises: InputError when a size is not positive or a share is not within 0 and 1.
    """
    if n_items < 1 or n_circles < 1:
        raise InputError(f"n_items and n_circles must be at least 1; got {n_items} and {n_circles}.")
    for name, share in (("new_share", new_share), ("pictureless_share", pictureless_share)):
        if not 0 <= share <= 1:
            raise InputError(f"{name} must be within 0 and 1; got {share}.")
    rng = np.random.default_rng([seed, 1])
    n_kinds, n_colours, n_patterns = len(KIND_NAMES), len(COLOUR_NAMES), len(PATTERNS)
    kind = _balanced(n_items, n_kinds, rng)
    colour = rng.integers(n_colours, size=n_items).astype(np.int16)
    others = rng.integers(1, n_patterns, size=n_items)
    pattern = np.where(rng.random(n_items) < _PLAIN_SHARE, 0, others).astype(np.int16)
    circle = _balanced(n_items, n_circles, rng)
    is_new = _chosen(n_items, new_share, rng)
    early = START - rng.integers(1, 400 * DAY, size=n_items)
    during = START + rng.integers(0, 55 * DAY, size=n_items)
    late = _NEWCOMERS_FROM + rng.integers(0, END - _NEWCOMERS_FROM, size=n_items)
    added_at = np.where(is_new, late, np.where(rng.random(n_items) < 0.15, during, early))
    typical = np.array([k.typical_price for k in KINDS])[kind]
    price = np.floor(typical * np.exp(rng.normal(0, 0.3, n_items))) + 0.9
    return Catalogue(
        item_id=numbered("p", n_items),
        kind=kind,
        colour=colour,
        pattern=pattern,
        circle=circle,
        price=price,
        added_at=added_at.astype(np.int64),
        is_new=is_new,
        has_picture=~_chosen(n_items, pictureless_share, rng),
        popularity=_long_tail(n_items, rng),
        n_circles=n_circles,
    )


def image_path(item_id: str) -> str:
    """Where the picture of an item lies below the shop's folder."""
    return f"images/{item_id}.jpg"


def _balanced(n: int, classes: int, rng: np.random.Generator) -> Codes:
    """Codes in random order, each class as often as any other, give or take one."""
    return rng.permutation(np.arange(n) % classes).astype(np.int16)


def _chosen(n: int, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    return rng.permutation(np.arange(n) < round(n * share))


def _long_tail(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Weights by Zipf's law with a flattened head: the best seller must not drown taste."""
    weights = (np.arange(n) + max(4.0, 0.02 * n)) ** -0.75
    return np.asarray(rng.permutation(weights / weights.sum()))


def numbered(letter: str, n: int) -> NDArray[np.str_]:
    """Ids such as p00001, all of one length."""
    width = max(5, len(str(n)))
    return np.char.add(letter, np.char.zfill(np.arange(1, n + 1).astype(str), width))


def _title(kind: str, colour: str, pattern: str) -> str:
    words = (colour, PATTERN_ADJECTIVES[pattern], kind)
    return " ".join(word for word in words if word).capitalize()


def _titles() -> NDArray[Any]:
    """Every title, shape (kinds, colours, patterns)."""
    return np.array([[[_title(k, c, p) for p in PATTERNS] for c in COLOUR_NAMES] for k in KIND_NAMES])


_FAMILY_CODE: Codes = np.array(
    [FAMILIES.index(FAMILY_OF_COLOUR[name]) for name in COLOUR_NAMES], dtype=np.int16
)
