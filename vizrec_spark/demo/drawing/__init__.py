"""Pictures of the generated products: drawn with Pillow, the same bytes for the same seed."""

from __future__ import annotations

import io
import random
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vizrec_spark.demo.drawing import accessories, bags, clothing, footwear, furniture, home
from vizrec_spark.demo.drawing.canvas import Canvas, Pose
from vizrec_spark.demo.drawing.palette import Palette
from vizrec_spark.demo.drawing.patterns import Cloth
from vizrec_spark.demo.drawing.scene import compose
from vizrec_spark.demo.drawing.sketch import Drawing, Sketch

__all__ = ["DRAWINGS", "draw_product", "product_jpeg", "render"]

DRAWINGS: Final[dict[str, Drawing]] = {
    **clothing.DRAWINGS,
    **footwear.DRAWINGS,
    **bags.DRAWINGS,
    **accessories.DRAWINGS,
    **home.DRAWINGS,
    **furniture.DRAWINGS,
}


def render(
    kind: str, colour: str, pattern: str, *, seed: int, size: int = 256
) -> tuple[Image.Image, NDArray[np.float32]]:
    """An RGB picture of ``size`` × ``size`` pixels and the product's share of each pixel (0 to 1).

    ``kind``, ``colour`` and ``pattern`` are names of ``vizrec_spark.demo.vocabulary``; a KeyError says that one
    is unknown. The seed chooses cut, proportions, pose, accent colour and background.
    """
    drawing = DRAWINGS[kind]
    rng = random.Random(seed)
    pose = Pose(
        turn=rng.uniform(-drawing.turn, drawing.turn),
        zoom=rng.uniform(0.90, 1.0),
        stretch=rng.uniform(0.965, 1.035),
        dx=rng.uniform(-1.5, 1.5),
        dy=rng.uniform(-1.0, 1.0),
        flip=drawing.flips and rng.random() < 0.5,
    )
    canvas = Canvas(size, pose)
    palette = Palette.of(colour, rng)
    drawing.draw(Sketch(canvas, Cloth(canvas, palette, pattern, rng.getrandbits(32)), palette, rng))
    return compose(canvas, rng, standing=drawing.standing)


def draw_product(kind: str, colour: str, pattern: str, *, seed: int, size: int = 256) -> Image.Image:
    """The picture alone; see ``render``."""
    return render(kind, colour, pattern, seed=seed, size=size)[0]


def product_jpeg(kind: str, colour: str, pattern: str, *, seed: int, size: int = 256) -> bytes:
    """The picture as a JPEG file of quality 90."""
    buffer = io.BytesIO()
    draw_product(kind, colour, pattern, seed=seed, size=size).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
