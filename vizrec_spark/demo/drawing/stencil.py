"""Masks of shapes at the final resolution, sharp and blurred, no larger than they need to be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from vizrec_spark.demo.drawing.paths import Points

Map = NDArray[np.float32]


class Stencil:
    """A mask over the part of the picture that a shape and its blur can reach."""

    def __init__(self, corner: Points, shape: tuple[int, int], fineness: int) -> None:
        """``corner`` (x, y) and ``shape`` (width, height) in final pixels; drawn ``fineness`` times finer."""
        self.corner = corner
        x, y = int(corner[0]), int(corner[1])
        self.window = (slice(y, y + shape[1]), slice(x, x + shape[0]))
        self._fineness = fineness
        self._picture = Image.new("L", (shape[0] * fineness, shape[1] * fineness))
        self.pen = ImageDraw.Draw(self._picture)
        self._shape = shape

    @classmethod
    def around(cls, points: Points, margin: float, size: int, fineness: int) -> Stencil:
        reach = 2.5 * margin + 2
        low = np.clip(np.floor(points.min(axis=0) - reach), 0, size - 1)
        high = np.clip(np.ceil(points.max(axis=0) + reach), low + 1, size)
        width, height = (high - low).astype(int).tolist()
        return cls(low, (width, height), fineness)

    def mask(self) -> Map:
        """Shape (height, width), 0 to 1."""
        return unit_map(self._picture.reduce(self._fineness) if self._fineness > 1 else self._picture)

    def blurred(self, radius: float) -> Map:
        """The mask under a Gaussian of ``radius`` final pixels; wide ones are computed on a coarser grid."""
        coarse = 4 if radius >= 8 else 2 if radius >= 3 else 1
        factor = coarse * self._fineness
        small = self._picture.reduce(factor) if factor > 1 else self._picture
        small = small.filter(ImageFilter.GaussianBlur(radius / coarse))
        if coarse > 1:
            box = (0.0, 0.0, self._shape[0] / coarse, self._shape[1] / coarse)
            small = small.resize(self._shape, Image.Resampling.BILINEAR, box=box)
        return unit_map(small)


def unit_map(picture: Image.Image) -> Map:
    """A grey picture (L) as float32, 0 to 1."""
    return np.asarray(picture, dtype=np.float32) * np.float32(1 / 255)
