"""What a drawing of a product has at hand: the canvas, its cloth, its colours and its chance."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from vizrec_spark.demo.drawing.canvas import Canvas
from vizrec_spark.demo.drawing.palette import Palette
from vizrec_spark.demo.drawing.patterns import Cloth


@dataclass(frozen=True)
class Sketch:
    """One product on its way onto the canvas."""

    canvas: Canvas
    cloth: Cloth
    palette: Palette
    rng: random.Random


@dataclass(frozen=True)
class Drawing:
    """How a kind is drawn: by which function, standing or lying, and how freely it may be turned."""

    draw: Callable[[Sketch], None]
    standing: bool
    turn: float = 3.0
    flips: bool = False
