"""Cloth: a picture of the canvas's size with a product's pattern, from which shapes are cut."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from vizrec_spark.demo.drawing.canvas import Canvas, Paint
from vizrec_spark.demo.drawing.palette import Palette, mix
from vizrec_spark.demo.drawing.paths import Points, shifted

_LOW, _HIGH = -25.0, 125.0  # cloth reaches beyond the picture, so that a turn leaves no corner bare


class Cloth:
    """Makes the cloth of one product; every call gives the same weave, turned and scaled as asked."""

    def __init__(self, canvas: Canvas, palette: Palette, pattern: str, seed: int) -> None:
        self._canvas = canvas
        self._palette = palette
        self._pattern = pattern
        self._seed = seed

    def cut(self, *, turn: float = 0.0, scale: float = 1.0) -> Paint:
        """Cloth turned by degrees, its figures ``scale`` times the usual size: a picture, or a plain colour."""
        if self._pattern == "plain":
            return self._palette.base
        side = self._canvas.side
        picture = Image.new("RGB", (side, side), self._palette.base)
        loom = _Loom(self._canvas, ImageDraw.Draw(picture), turn)
        _WEAVES[self._pattern](loom, self._palette, scale, random.Random(self._seed))
        return picture


class _Loom:
    """Draws in cloth units, which are turned against those of the canvas."""

    def __init__(self, canvas: Canvas, pen: ImageDraw.ImageDraw, turn: float) -> None:
        angle = math.radians(turn)
        self._turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        self._canvas = canvas
        self._pen = pen

    def place(self, points: Points) -> Points:
        return self._canvas.place((points - 50.0) @ self._turn + 50.0)

    def polygons(self, shapes: Points, colour: tuple[int, int, int]) -> None:
        """Shapes (n, corners, 2)."""
        n, corners, _ = shapes.shape
        for outline in self.place(shapes.reshape(-1, 2)).reshape(n, corners * 2).tolist():
            self._pen.polygon(outline, fill=colour)

    def discs(self, centres: Points, radius: float, colour: tuple[int, int, int]) -> None:
        """Circles around centres (n, 2)."""
        r = self._canvas.length(radius)
        for x, y in self.place(centres).tolist():
            if -r < x < self._canvas.side + r and -r < y < self._canvas.side + r:
                self._pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def bars(self, starts: Points, thickness: float, colour: tuple[int, int, int], *, upright: bool) -> None:
        """Bars across the whole cloth."""
        low, high = np.full_like(starts, _LOW), np.full_like(starts, _HIGH)
        ends = starts + thickness
        corners = [(low, starts), (high, starts), (high, ends), (low, ends)]
        shapes = np.stack([np.stack(c[::-1] if upright else c, axis=1) for c in corners], axis=1)
        self.polygons(shapes, colour)


def _starts(period: float, rng: random.Random) -> Points:
    return np.arange(_LOW + rng.uniform(0, period), _HIGH, period)


def _stripes(loom: _Loom, palette: Palette, scale: float, rng: random.Random) -> None:
    period = rng.uniform(6.5, 9.5) * scale
    starts = _starts(period, rng)
    loom.bars(starts, period * rng.uniform(0.34, 0.46), palette.accent, upright=False)
    if rng.random() < 0.3:
        loom.bars(starts + period * 0.62, period * 0.12, palette.accent, upright=False)


def _dots(loom: _Loom, palette: Palette, scale: float, rng: random.Random) -> None:
    period = rng.uniform(6.5, 9.5) * scale
    x, y = np.meshgrid(_starts(period, rng), _starts(period, rng))
    x[1::2] += period / 2
    centres = np.stack([x.ravel(), y.ravel() * 0.9], axis=1)
    loom.discs(centres, period * rng.uniform(0.22, 0.3), palette.accent)


def _checks(loom: _Loom, palette: Palette, scale: float, rng: random.Random) -> None:
    period = rng.uniform(8.0, 11.5) * scale
    width = period * rng.uniform(0.4, 0.5)
    starts = _starts(period, rng)
    half = mix(palette.base, palette.accent, 0.42)
    loom.bars(starts, width, half, upright=False)
    loom.bars(starts, width, half, upright=True)
    x, y = (grid.ravel() for grid in np.meshgrid(starts, starts))
    crossings = [(x, y), (x + width, y), (x + width, y + width), (x, y + width)]
    loom.polygons(np.stack([np.stack(c, axis=1) for c in crossings], axis=1), palette.accent)


def _chevron(loom: _Loom, palette: Palette, scale: float, rng: random.Random) -> None:
    step = rng.uniform(5.0, 7.0) * scale
    period = rng.uniform(8.0, 10.5) * scale
    thickness = period * rng.uniform(0.36, 0.46)
    x = np.arange(_LOW, _HIGH + step, step)
    zigzag = np.where(np.arange(len(x)) % 2 == 0, 0.0, step * 0.85)
    upper = np.stack([x, zigzag], axis=1)
    outline = np.vstack([upper, shifted(upper[::-1], 0.0, thickness)])
    starts = _starts(period, rng)
    loom.polygons(outline[None] + np.stack([np.zeros_like(starts), starts], axis=1)[:, None], palette.accent)


def _floral(loom: _Loom, palette: Palette, scale: float, rng: random.Random) -> None:
    period = rng.uniform(14.0, 17.0) * scale
    x, y = np.meshgrid(_starts(period, rng), _starts(period, rng))
    x[1::2] += period / 2
    centres = np.stack([x.ravel(), y.ravel()], axis=1)
    jitter = np.array([rng.uniform(-1, 1) for _ in range(centres.size)]).reshape(centres.shape)
    centres = centres + jitter * period * 0.12
    petal = period * 0.15
    tilt = np.array([rng.uniform(0, 72) for _ in range(len(centres))])
    leaf = np.radians(tilt + 36)
    ahead = np.stack([np.cos(leaf), np.sin(leaf)], axis=1) * petal
    aside = ahead[:, ::-1] * (-1.0, 1.0)
    for sign in (1.0, -1.0):
        stem = centres + sign * ahead * 1.2
        leaves = np.stack(
            [
                stem,
                stem + sign * ahead * 1.3 + aside * 0.7,
                stem + sign * ahead * 2.6,
                stem + sign * ahead * 1.3 - aside * 0.7,
            ],
            axis=1,
        )
        loom.polygons(leaves, palette.second)
    for k in range(5):
        angle = np.radians(tilt + 72 * k)
        around = np.stack([np.cos(angle), np.sin(angle)], axis=1) * petal * 1.15
        loom.discs(centres + around, petal, palette.accent)
    loom.discs(centres, petal * 0.75, mix(palette.base, (240, 190, 60), 0.45))


def _diamonds(loom: _Loom, palette: Palette, scale: float, rng: random.Random) -> None:
    width = rng.uniform(8.0, 11.0) * scale
    height = width * 1.5
    x, y = (g.ravel() for g in np.meshgrid(_starts(width, rng), _starts(height, rng)))
    w, h = width / 2, height / 2
    loom.polygons(
        np.stack([np.stack(c, axis=1) for c in ((x, y - h), (x + w, y), (x, y + h), (x - w, y))], axis=1)[
            (np.round((x - x.min()) / width) + np.round((y - y.min()) / height)) % 2 == 0
        ],
        palette.accent,
    )
    thin = width * 0.035
    for lean in (1.0, -1.0):
        ends = ((x - w - thin, y + lean * h), (x - w + thin, y + lean * h))
        far = ((x + w + thin, y - lean * h), (x + w - thin, y - lean * h))
        loom.polygons(np.stack([np.stack(c, axis=1) for c in (*ends, *far)], axis=1), palette.second)


_WEAVES: dict[str, Callable[[_Loom, Palette, float, random.Random], None]] = {
    "stripes": _stripes,
    "dots": _dots,
    "checks": _checks,
    "chevron": _chevron,
    "floral": _floral,
    "diamonds": _diamonds,
}
