"""The drawn pictures: repetition, colour, and that kind, colour and pattern can be told apart."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from PIL import Image

from vizrec_spark.demo.drawing import DRAWINGS, draw_product, product_jpeg, render
from vizrec_spark.demo.vocabulary import COLOUR_NAMES, KIND_NAMES, PATTERNS, RGB_OF_COLOUR

SIZE = 96


def pixels(kind: str, colour: str, pattern: str, seed: int) -> np.ndarray:
    return np.asarray(draw_product(kind, colour, pattern, seed=seed, size=SIZE), dtype=float)


def test_every_kind_has_a_drawing() -> None:
    assert set(DRAWINGS) == set(KIND_NAMES)


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(kind: str) -> None:
    first, again, other = (product_jpeg(kind, "teal", "dots", seed=s, size=SIZE) for s in (11, 11, 12))
    assert first == again
    assert first != other
    with Image.open(io.BytesIO(first)) as picture:
        assert (picture.format, picture.size, picture.mode) == ("JPEG", (SIZE, SIZE), "RGB")


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_a_product_fills_its_picture_and_stays_inside(kind: str) -> None:
    for seed in range(6):
        _, coverage = render(kind, "blue", "plain", seed=seed, size=SIZE)
        assert 0.12 < coverage.mean() < 0.75
        border = np.concatenate([coverage[0], coverage[-1], coverage[:, 0], coverage[:, -1]])
        assert border.max() == 0


def test_plain_products_have_their_named_colour() -> None:
    """The median colour under the product's mask is nearest, among the named ones, to its own."""
    named = np.array([RGB_OF_COLOUR[name] for name in COLOUR_NAMES], dtype=float)
    right = total = 0
    for kind in KIND_NAMES:
        for position, colour in enumerate(COLOUR_NAMES):
            picture, coverage = render(kind, colour, "plain", seed=position, size=48)
            inside = np.asarray(picture, dtype=float)[coverage > 0.9]
            # Shade darkens: compare the brighter half, where the cloth lies in the light.
            bright = inside[inside.sum(axis=1) >= np.median(inside.sum(axis=1))]
            nearest = np.argmin(((named - np.median(bright, axis=0)) ** 2).sum(axis=1))
            right += int(nearest == position)
            total += 1
    assert right / total > 0.75


def test_background_is_light_and_quiet() -> None:
    for seed, kind in enumerate(KIND_NAMES):
        picture, _ = render(kind, "red", "checks", seed=seed, size=SIZE)
        corners = np.asarray(picture, dtype=float)[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.min() > 200
        assert corners.std(axis=0).max() < 8


@pytest.mark.parametrize("pattern", [p for p in PATTERNS if p != "plain"])
def test_patterns_show_on_every_kind(pattern: str) -> None:
    for kind in KIND_NAMES:
        picture, coverage = render(kind, "red", pattern, seed=4, size=SIZE)
        plain, _ = render(kind, "red", "plain", seed=4, size=SIZE)
        inside = coverage > 0.9
        change = np.abs(np.asarray(picture, dtype=float) - np.asarray(plain, dtype=float)).max(axis=2)[inside]
        assert (change > 25).mean() > 0.05, kind


def test_kind_pattern_and_colour_all_make_a_difference() -> None:
    mug = pixels("mug", "red", "stripes", 3)
    for other in (
        pixels("lamp", "red", "stripes", 3),
        pixels("mug", "blue", "stripes", 3),
        pixels("mug", "red", "dots", 3),
    ):
        assert np.abs(mug - other).mean() > 4


def test_an_unknown_name_is_a_key_error() -> None:
    for wrong in (("spoon", "red", "plain"), ("mug", "infrared", "plain"), ("mug", "red", "camouflage")):
        with pytest.raises(KeyError):
            draw_product(*wrong, seed=0)


def test_drawing_is_quick() -> None:
    product_jpeg("mug", "red", "plain", seed=0)
    began = time.process_time()
    for position, kind in enumerate(KIND_NAMES):
        product_jpeg(kind, "green", PATTERNS[position % len(PATTERNS)], seed=position)
    assert len(KIND_NAMES) / (time.process_time() - began) > 10  # pictures a second of one core
