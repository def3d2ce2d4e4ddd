"""Mugs and table lamps, standing."""

from __future__ import annotations

import numpy as np

from vizrec_spark.demo.drawing.palette import GOLD, STEEL, WHITE, WOOD, darker, lighter, luminance
from vizrec_spark.demo.drawing.paths import ellipse, mirrored, path, reflected, rounded, shifted
from vizrec_spark.demo.drawing.sketch import Drawing, Sketch


def mug(s: Sketch) -> None:
    """A mug with a round handle; straight or bellied, the pattern runs around it."""
    c, p, rng = s.canvas, s.palette, s.rng
    belly = rng.uniform(-2.5, 3.0)
    taper = rng.uniform(0, 5)
    top, bottom = rng.uniform(20, 26), 84.0
    left, right = 19.0, 69.0
    cloth = s.cloth.cut()
    inside = p.accent if rng.random() < 0.3 else lighter(p.base, 0.55)

    reach = rng.uniform(17, 20)
    handle = path(
        f"M {right - 3} {top + 12} "
        f"C {right + reach * 0.9} {top + 7} {right + reach * 1.3} {top + 22} {right + reach * 0.75} {top + 36} "
        f"C {right + reach * 0.45} {top + 43} {right + 2} {top + 48} {right - 5} {top + 49}"
    )
    c.line(handle, 6.6, darker(p.base, 0.3))
    c.line(shifted(handle, -0.5, -0.6), 5.0, darker(p.base, 0.08))
    c.line(shifted(handle, -1.0, -1.4), 1.3, lighter(p.base, 0.4))
    outline = path(
        f"M {left} {top} "
        f"C {left - belly} {top + 22} {left + taper - belly} {bottom - 18} {left + taper + 2} {bottom - 4} "
        f"C {left + taper + 6} {bottom + 5} {right - taper - 6} {bottom + 5} {right - taper - 2} {bottom - 4} "
        f"C {right - taper + belly} {bottom - 18} {right + belly} {top + 22} {right} {top} Z"
    )
    c.lathe(outline, cloth, depth=0.5, gleam=0.32)
    c.fold(
        [
            path(
                f"M {left + taper + 2} {bottom - 3} "
                f"C {left + taper + 8} {bottom + 4} {right - taper - 8} {bottom + 4} {right - taper - 2} {bottom - 3}"
            )
        ],
        width=2.4,
        soft=1.8,
        dark=0.35,
    )
    cx, rx = (left + right) / 2, (right - left) / 2
    c.solid(
        ellipse(cx, top, rx + 0.5, 6.4),
        lighter(p.base, 0.28) if luminance(p.base) < 225 else WHITE,
        depth=0.12,
        soft=2,
    )
    c.solid(ellipse(cx, top + 0.3, rx - 1.7, 5.1), inside, depth=0.12, soft=1.5)
    c.fold([ellipse(cx - 1, top - 0.4, rx - 3, 4.2, 180, 330)], width=3.0, soft=1.8, dark=0.35)
    if rng.random() < 0.5:
        drink = ellipse(cx, top + 2.6, rx - 6.4, 2.9)
        c.flat(drink, (92, 58, 38))
        c.fold([ellipse(cx, top + 2.6, rx - 7.4, 2.3, 170, 370)], width=1.2, soft=0.8, dark=0.3)
        c.gloss(ellipse(cx - 7, top + 2.2, 5, 0.7), soft=0.8, light=0.35)


def lamp(s: Sketch) -> None:
    """A table lamp: a cloth shade lit from within on a turned, round or slender foot."""
    c, p, rng = s.canvas, s.palette, s.rng
    wide = rng.uniform(-3, 4)
    shade_foot = rng.uniform(46, 52)
    style = rng.randrange(3)
    brass = GOLD if rng.random() < 0.5 else darker(STEEL, 0.25)
    cloth = s.cloth.cut(scale=0.9)

    c.line(path(f"M 50 {shade_foot - 4} L 50 84"), 2.2, darker(brass, 0.25))
    c.line(path(f"M 49.6 {shade_foot - 4} L 49.6 84"), 0.8, lighter(brass, 0.35))
    if style == 0:
        vase = mirrored(
            path(
                f"M 50 {shade_foot + 4} L 53.6 {shade_foot + 4} "
                f"C 54 {shade_foot + 10} 66 62 65.6 72 C 65.4 80 59 85 56 87 L 50 87"
            )
        )
        c.lathe(vase, p.trim, depth=0.55, gleam=0.45)
        c.lathe(rounded(38, 86, 62, 90, 1.4), brass, depth=0.5, gleam=0.4)
    elif style == 1:
        for y, r in ((62.0, 5.4), (73.0, 7.0)):
            c.solid(ellipse(50, y, r, r), WOOD, depth=0.5, soft=3, gleam=1.2)
        c.lathe(
            path("M 41 79 L 59 79 L 64 87 C 64 90 36 90 36 87 Z"), darker(WOOD, 0.15), depth=0.5, gleam=0.3
        )
    else:
        c.lathe(
            mirrored(path("M 50 82 L 52 82 C 53 85 66 85 67 88 C 67 90.4 60 91 50 91")),
            brass,
            depth=0.5,
            gleam=0.45,
        )
        c.lathe(rounded(48.2, shade_foot + 6, 51.8, shade_foot + 10, 1), brass, depth=0.4)
    c.line(path(f"M 57.6 {shade_foot - 2} L 57.6 {shade_foot + 9}"), 0.4, darker(brass, 0.2))
    c.disc(57.6, shade_foot + 9.6, 0.9, brass)

    head = 14.5 - wide * 0.4
    left_top, left_foot = 35 - wide * 0.5, 22 - wide
    shade = mirrored(
        path(
            f"M 50 {head} C 55 {head} {100 - left_top - 4} {head - 0.4} {100 - left_top} {head - 0.8} "
            f"L {100 - left_foot} {shade_foot} "
            f"C {100 - left_foot - 10} {shade_foot + 4.4} 60 {shade_foot + 4.8} 50 {shade_foot + 4.8}"
        )
    )
    c.lathe(shade, cloth, depth=0.38, gleam=0.05)
    c.gloss(ellipse(50, (head + shade_foot) / 2 + 4, 15, 13), soft=6, light=0.28)
    hem = path(
        f"M {left_foot + 0.9} {shade_foot - 1.0} "
        f"C {left_foot + 10} {shade_foot + 3} 40 {shade_foot + 3.4} 50 {shade_foot + 3.4}"
    )
    hem = np.vstack([hem, reflected(hem)[::-1]])
    c.line(hem, 1.5, p.trim)
    c.line(
        path(f"M {left_top} {head} C 42 {head + 0.8} 58 {head + 0.8} {100 - left_top} {head}"),
        1.4,
        p.trim,
    )
    c.line(path(f"M 50 {head - 4} L 50 {head}"), 1.0, brass)
    c.disc(50, head - 4.4, 1.4, brass)


DRAWINGS = {
    "mug": Drawing(mug, standing=True, turn=0.0, flips=True),
    "lamp": Drawing(lamp, standing=True, turn=0.0),
}
