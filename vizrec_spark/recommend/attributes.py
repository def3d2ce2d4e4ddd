"""Catalogue attributes as numbers: a block of columns for categories, and one for each further attribute."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_KNOTS = 24
_WIDTH = 0.1  # of a bump, as a share of the catalogue
_MOST_LEVELS = 256
_NAME_OF_IDS = re.compile(r"(?:^|[^A-Za-z])(?i:ids?|key|ean|gtin|isbn|sku|upc)$|[a-z](?:Id|ID)$")


class Block(NamedTuple):
    """One attribute: `values` (n, p) float64, `present` (n,) bool: whether the item has it."""

    name: str
    values: NDArray[np.float64]
    present: NDArray[np.bool_]


def category_block(categories: Sequence[Sequence[str] | None]) -> Block | None:
    """One column a category (the `_MOST_LEVELS` commonest), rows of unit length; none where nothing varies."""
    return _levels("categories", [list(dict.fromkeys(c)) if c is not None else [] for c in categories])


def attribute_block(name: str, texts: Sequence[str | None]) -> Block | None:
    """A numeric attribute as smooth bumps over its quantiles, any other as one column a value.

    Numeric is what reads as a number in at least 95 % of its items, with more than 20 values. Quantiles make the
    unit irrelevant; bumps let a linear model bend. None where it says nothing: one value for all, or (not numeric)
    nearly as many values as items, as a title or an id has. Numbers of an id do not tell that they count nothing: there
    the name decides, where no two items have the same whole number.
    """
    present = np.array([text is not None and text.strip() != "" for text in texts], dtype=bool)
    numbers = np.array([_number(text) for text in texts])
    known = np.isfinite(numbers)
    distinct = len(np.unique(numbers[known]))
    if known.sum() >= 0.95 * max(int(present.sum()), 1) and distinct > 20:
        whole = bool((numbers[known] % 1 == 0).all())
        if whole and distinct == known.sum() and _NAME_OF_IDS.search(name) is not None:
            return None
        return number_block(name, numbers)
    levels = [[str(text).strip()] if has else [] for text, has in zip(texts, present, strict=True)]
    if len({level[0] for level in levels if level}) > present.sum() / 2:
        return None
    return _levels(name, levels)


def number_block(name: str, numbers: NDArray[np.float64]) -> Block | None:
    """A numeric attribute (NaN where unknown) as Gaussian bumps over its quantiles."""
    known = np.isfinite(numbers)
    distinct = np.unique(numbers[known])
    if len(distinct) < 2:
        return None
    ordered = np.sort(numbers[known])
    middle = (
        np.searchsorted(ordered, numbers[known], "left") + np.searchsorted(ordered, numbers[known], "right")
    ) / 2
    knots = np.linspace(0.0, 1.0, _KNOTS)
    # Rotated so that inner products of rows are those of the bumps' kernel (Nyström).
    root = np.linalg.cholesky(_bumps(knots, knots) + 1e-6 * np.eye(_KNOTS))
    values = np.zeros((len(numbers), _KNOTS))
    values[known] = np.linalg.solve(root, _bumps(middle / len(ordered), knots).T).T
    return Block(name, values, known)


def attribute_likeness(blocks: Sequence[Block], n: int) -> NDArray[np.float32]:
    """Rows (n, columns of all blocks) of which the dot product is the mean over attributes of the centred cosine.

    An item that lacks an attribute has zeros there.
    """
    parts = []
    for block in blocks:
        centred = np.where(
            block.present[:, None], block.values - block.values[block.present].mean(axis=0), 0.0
        )
        length = np.linalg.norm(centred, axis=1, keepdims=True)
        parts.append(centred / np.maximum(length, 1e-12) / np.sqrt(len(blocks)))
    return np.hstack(parts).astype(np.float32) if parts else np.zeros((n, 1), dtype=np.float32)


def _levels(name: str, levels: Sequence[Sequence[str]]) -> Block | None:
    counts: dict[str, int] = {}
    for row in levels:
        for level in row:
            counts[level] = counts.get(level, 0) + 1
    kept = sorted(counts, key=lambda level: (-counts[level], level))[:_MOST_LEVELS]
    column = {level: place for place, level in enumerate(kept)}
    values = np.zeros((len(levels), len(kept)))
    for at, held in enumerate(levels):
        for level in held:
            if level in column:
                values[at, column[level]] = 1.0
    present = np.asarray(values.any(axis=1))
    if not present.any() or np.ptp(values, axis=0).max() == 0:
        return None
    return Block(name, values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12), present)


def _bumps(at: NDArray[np.float64], knots: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp(-0.5 * np.square((at[:, None] - knots[None, :]) / _WIDTH)))


def _number(text: str | None) -> float:
    try:
        return float(text) if text is not None else np.nan
    except ValueError:
        return np.nan
