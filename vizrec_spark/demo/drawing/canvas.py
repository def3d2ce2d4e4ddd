"""A canvas that draws supersampled flat shapes and lights them softly at the final resolution.

Shapes are painted on a black picture three times as large, with a coverage mask beside it. Averaging both down
gives colours that are already multiplied by their coverage, so that laying them over the background is one
multiplication and one sum. Light and shade vary slowly; they are kept as maps of the final size, where
blurring is cheap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from vizrec_spark.demo.drawing.palette import RGB
from vizrec_spark.demo.drawing.paths import Points, band, shifted
from vizrec_spark.demo.drawing.stencil import Map, Stencil

OVERSAMPLE = 3
Paint = RGB | Image.Image


@dataclass(frozen=True)
class Pose:
    """How the product stands in the picture: turned by degrees, zoomed, stretched, moved by units, mirrored."""

    turn: float = 0.0
    zoom: float = 1.0
    stretch: float = 1.0
    dx: float = 0.0
    dy: float = 0.0
    flip: bool = False

    def matrix(self) -> Points:
        """The 2 × 2 matrix that takes drawing units, as rows around the centre, to posed ones."""
        turn = math.radians(self.turn)
        scale = np.diag([self.zoom * self.stretch * (-1 if self.flip else 1), self.zoom / self.stretch])
        rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        return np.asarray(scale @ rotation)


def planes(picture: Image.Image) -> Map:
    """An RGB picture as float32 (3, height, width): one plane a channel, which numpy walks in long strides."""
    return np.asarray(np.asarray(picture).transpose(2, 0, 1), dtype=np.float32, order="C")


class Canvas:
    """Draws one product in units of a hundredth of the picture's side; see the module's text."""

    def __init__(self, size: int, pose: Pose) -> None:
        self.size = size
        self.side = size * OVERSAMPLE
        self._unit = self.side / 100
        self._matrix = pose.matrix() * self._unit
        self._offset = (np.array([50 + pose.dx, 50 + pose.dy])) * self._unit
        self._picture = Image.new("RGB", (self.side, self.side))
        self._cover = Image.new("L", (self.side, self.side))
        self._pen = ImageDraw.Draw(self._picture)
        self._cover_pen = ImageDraw.Draw(self._cover)
        self._shade: Map = np.ones((size, size), dtype=np.float32)
        self._gleam: Map = np.zeros((size, size), dtype=np.float32)
        self.zoom = pose.zoom

    def place(self, points: Points) -> Points:
        """Drawing units to pixels of the supersampled picture."""
        return np.asarray((points - 50.0) @ self._matrix + self._offset)

    def length(self, units: float) -> int:
        """A length in pixels of the supersampled picture, at least one."""
        return max(1, round(units * self._unit * self.zoom))

    # -- shapes ---------------------------------------------------------------------------------------------

    def flat(self, points: Points, paint: Paint) -> None:
        """Fill an outline without changing the light on it."""
        placed = self.place(points)
        self._cover_pen.polygon(placed.ravel().tolist(), fill=255)
        if isinstance(paint, Image.Image):
            low = np.clip(np.floor(placed.min(axis=0)), 0, self.side - 1).astype(int)
            high = np.clip(np.ceil(placed.max(axis=0)) + 1, 1, self.side).astype(int)
            if (high <= low).any():
                return
            stencil = Image.new("L", (int(high[0] - low[0]), int(high[1] - low[1])))
            ImageDraw.Draw(stencil).polygon((placed - low).ravel().tolist(), fill=255)
            box = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
            self._picture.paste(paint.crop(box), box, stencil)
        else:
            self._pen.polygon(placed.ravel().tolist(), fill=paint)

    def solid(
        self, points: Points, paint: Paint, *, depth: float = 0.3, soft: float = 4.0, gleam: float = 0.5
    ) -> None:
        """Fill an outline and round it: lit from the upper left, dark at the lower right.

        ``depth`` is the darkening at the far edge (0 to 1), ``soft`` how far in units the rounding reaches,
        ``gleam`` the brightness of the near edge as a part of ``depth``.
        """
        self.flat(points, paint)
        stencil = self._stencil(points, soft)
        mask = stencil.mask()
        blurred = stencil.blurred(soft * self.size / 100)
        step = max(1, round(soft * self.size / 100 * 0.45))
        far = np.roll(blurred, (-step, -step), axis=(0, 1))
        near = np.roll(blurred, (step, step), axis=(0, 1))
        self._relight(stencil, mask, 1 - depth * (1 - far), (0.6 * depth * gleam) * (1 - near))

    def lathe(self, points: Points, paint: Paint, *, depth: float = 0.4, gleam: float = 0.25) -> None:
        """Fill an outline and light it as a body of revolution around an upright axis."""
        self.flat(points, paint)
        stencil = self._stencil(points, 0.5)
        mask = stencil.mask()
        sums = np.cumsum(mask, axis=1, dtype=np.float32)
        across = np.asarray(sums / np.maximum(sums[:, -1:], 1e-6), dtype=np.float32)
        away: Map = np.abs(across - 0.38)
        streak: Map = np.exp(-(((across - 0.24) / 0.07) ** 2))
        self._relight(stencil, mask, 1 - depth * (away / 0.62) ** 2.2, gleam * streak)

    def line(self, points: Points, width: float, colour: RGB) -> None:
        """An open line with round ends."""
        placed = self.place(points)
        pixels = self.length(width)
        radius = pixels / 2
        ends = (placed[0].tolist(), placed[-1].tolist())
        ribbon = pixels > 3 and len(placed) > 2
        outline = (band(placed, pixels) if ribbon else placed).ravel().tolist()
        for pen, fill in ((self._pen, colour), (self._cover_pen, 255)):
            if ribbon:
                pen.polygon(outline, fill=fill)
            else:
                pen.line(outline, fill=fill, width=pixels)
            if pixels > 2:
                for x, y in ends:
                    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)

    def stitch(self, points: Points, colour: RGB, *, dash: float = 1.5, width: float = 0.4) -> None:
        """A dashed seam along a line."""
        placed = self.place(points)
        steps = np.hypot(*np.diff(placed, axis=0).T)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        stride = self.length(dash)
        starts = np.arange(0.0, along[-1] - stride * 0.6, stride * 1.75)
        ends = starts + stride
        sx, ex = np.interp(starts, along, placed[:, 0]), np.interp(ends, along, placed[:, 0])
        sy, ey = np.interp(starts, along, placed[:, 1]), np.interp(ends, along, placed[:, 1])
        pixels = self.length(width)
        for segment in np.stack([sx, sy, ex, ey], axis=1).tolist():
            self._pen.line(segment, fill=colour, width=pixels)

    def disc(self, x: float, y: float, radius: float, colour: RGB) -> None:
        """A small filled circle (an eyelet, a button, a rivet)."""
        ((px, py),) = self.place(np.array([[x, y]]))
        r = max(1.0, radius * self._unit * self.zoom)
        box = (px - r, py - r, px + r, py + r)
        self._pen.ellipse(box, fill=colour)
        self._cover_pen.ellipse(box, fill=255)

    # -- light ----------------------------------------------------------------------------------------------

    def fold(
        self, lines: Sequence[Points], *, width: float = 2.0, soft: float = 1.5, dark: float = 0.3
    ) -> None:
        """Soft dark lines: folds of cloth, seams that sink in, edges of a part that lies on another."""
        stencil = self._strokes(lines, width, soft)
        self._shade[stencil.window] *= 1 - dark * stencil.blurred(soft * self.size / 100)

    def ridge(
        self, lines: Sequence[Points], *, width: float = 2.0, soft: float = 1.5, light: float = 0.2
    ) -> None:
        """Soft bright lines: the crest of a fold, the gloss along an edge."""
        stencil = self._strokes(lines, width, soft)
        self._gleam[stencil.window] += light * stencil.blurred(soft * self.size / 100)

    def gloss(self, points: Points, *, soft: float = 1.5, light: float = 0.25) -> None:
        """A soft bright area."""
        stencil = self._stencil(points, soft, 1)
        self._gleam[stencil.window] += light * stencil.blurred(soft * self.size / 100)

    def cast(
        self, points: Points, *, dx: float = 0.8, dy: float = 1.6, soft: float = 1.6, dark: float = 0.35
    ) -> None:
        """The shadow that a part throws on what is drawn already; draw the part itself afterwards."""
        stencil = self._stencil(shifted(points, dx, dy), soft, 1)
        self._shade[stencil.window] *= 1 - dark * stencil.blurred(soft * self.size / 100)

    # -- result ---------------------------------------------------------------------------------------------

    def coverage(self) -> Map:
        """Share of each final pixel that the product covers, shape (size, size), 0 to 1."""
        return np.asarray(self._cover.reduce(OVERSAMPLE), dtype=np.float32) / np.float32(255)

    def lit(self, coverage: Map, grain: Map) -> Map:
        """The lit product multiplied by its coverage, shape (3, size, size), 0 to 255."""
        colour = planes(self._picture.reduce(OVERSAMPLE))
        gleam = np.clip(self._gleam, 0, 0.9)
        colour *= np.clip(self._shade, 0, 1.2) * grain * (1 - gleam)
        colour += gleam * coverage * np.float32(255)
        return colour

    def _stencil(self, points: Points, soft: float, fineness: int = OVERSAMPLE) -> Stencil:
        placed = self.place(points) * (fineness / OVERSAMPLE)
        stencil = Stencil.around(placed / fineness, soft * self.size / 100, self.size, fineness)
        stencil.pen.polygon((placed - stencil.corner * fineness).ravel().tolist(), fill=255)
        return stencil

    def _strokes(self, lines: Sequence[Points], width: float, soft: float) -> Stencil:
        placed = [self.place(points) / OVERSAMPLE for points in lines]
        margin = (soft + width / 2) * self.size / 100
        stencil = Stencil.around(np.vstack(placed), margin, self.size, 1)
        pixels = max(1, round(width * self.size / 100))
        for points in placed:
            stencil.pen.line((points - stencil.corner).ravel().tolist(), fill=255, width=pixels)
        return stencil

    def _relight(self, stencil: Stencil, mask: Map, shade: Map, gleam: Map) -> None:
        """Forget the light on what the mask now hides, then apply the part's own."""
        for light, own in ((self._shade, shade), (self._gleam, gleam)):
            here = light[stencil.window]
            here += mask * (own - here)
