"""The setting of a product picture: a quiet light background and the shadow that the product throws on it."""

from __future__ import annotations

import random
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from vizrec_spark.demo.drawing.canvas import Canvas
from vizrec_spark.demo.drawing.stencil import Map

_TONES = (
    (243, 242, 239),
    (240, 242, 244),
    (245, 241, 236),
    (238, 241, 240),
    (242, 239, 242),
    (236, 237, 239),
)


@lru_cache(maxsize=8)
def grain(size: int) -> Map:
    """A fine unevenness of cloth and paint, around 1, shape (size, size)."""
    rng = np.random.default_rng(20240229)
    return np.asarray(1 + rng.normal(0, 0.012, (size, size)), dtype=np.float32)


@lru_cache(maxsize=8)
def _vignette(size: int) -> Map:
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    return np.asarray(1.012 - 0.11 * ((x - 0.46) ** 2 + (y - 0.40) ** 2), dtype=np.float32)


def compose(canvas: Canvas, rng: random.Random, *, standing: bool) -> tuple[Image.Image, NDArray[np.float32]]:
    """The finished RGB picture and the product's coverage of it, shape (size, size), 0 to 1."""
    coverage = canvas.coverage()
    tone = np.array(rng.choice(_TONES), dtype=np.float32) + np.float32(rng.uniform(-3, 3))
    lift = np.float32(rng.uniform(-0.006, 0.006))
    shadow = _ground_shadow(coverage) if standing else _drop_shadow(coverage)
    behind = (_vignette(canvas.size) + lift) * (1 - shadow) * (1 - coverage)
    picture = canvas.lit(coverage, grain(canvas.size))
    for plane, level in zip(picture, tone, strict=True):
        plane += behind * level
    np.clip(picture, 0, 255, out=picture)
    return Image.fromarray(np.ascontiguousarray(picture.astype(np.uint8).transpose(1, 2, 0))), coverage


def _blur(mask: Map, radius: float) -> Map:
    """Under a Gaussian; on a grid of half or a quarter of the size where the radius allows it."""
    picture = Image.fromarray((np.clip(mask, 0, 1) * 255).astype(np.uint8))
    coarse = 4 if radius >= 6 else 2 if radius >= 2 else 1
    small = picture.reduce(coarse) if coarse > 1 else picture
    small = small.filter(ImageFilter.GaussianBlur(radius / coarse))
    if coarse > 1:
        small = small.resize(picture.size, Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.float32) / np.float32(255)


def _drop_shadow(coverage: Map) -> Map:
    """Of a thing that lies on the ground, seen from above, lit from the upper left."""
    size = len(coverage)
    near = np.roll(coverage, (round(size * 0.012), round(size * 0.006)), axis=(0, 1))
    far = np.roll(coverage, (round(size * 0.035), round(size * 0.02)), axis=(0, 1))
    return np.asarray(0.22 * _blur(near, size * 0.008) + 0.20 * _blur(far, size * 0.03), dtype=np.float32)


def _ground_shadow(coverage: Map) -> Map:
    """Of a thing that stands: dark where it touches the ground, wide and faint around it."""
    size = len(coverage)
    rows = np.flatnonzero(coverage.max(axis=1) > 0.5)
    if not len(rows):
        return np.zeros_like(coverage)
    floor = int(rows[-1])
    feet = coverage[max(0, floor - round(size * 0.035)) : floor + 1].max(axis=0)
    around = (feet + 0.35 * coverage.max(axis=0)) / 1.35
    window = slice(max(0, floor - round(size * 0.12)), min(size, floor + round(size * 0.12)))
    y = (np.arange(size, dtype=np.float32)[window] - floor) / size
    contact = np.exp(-(((y + 0.002) / 0.011) ** 2))[:, None] * feet
    wide = np.exp(-(((y + 0.004) / 0.026) ** 2))[:, None] * around
    shadow = np.zeros_like(coverage)
    shadow[window] = 0.42 * _blur(contact, size * 0.010) + 0.34 * _blur(wide, size * 0.04)
    return shadow
