"""Handbags and backpacks, standing, seen from the front."""

from __future__ import annotations

import numpy as np

from vizrec_spark.demo.drawing.palette import GOLD, LEATHER, STEEL, darker, lighter, luminance
from vizrec_spark.demo.drawing.paths import ellipse, mirrored, path, reflected, rounded, shifted
from vizrec_spark.demo.drawing.sketch import Drawing, Sketch


def handbag(s: Sketch) -> None:
    """A handbag with an arched handle and rings: with a flap and a clasp, or open like a tote."""
    c, p, rng = s.canvas, s.palette, s.rng
    tall = rng.uniform(-4, 4)
    flap = rng.random() < 0.6
    top, wide = 42 - tall, rng.uniform(-3, 3)
    leather = LEATHER if luminance(p.base) > 95 and rng.random() < 0.6 else p.trim
    cloth = s.cloth.cut(scale=0.85)
    left, right = 35.5, 64.5

    arch_top = rng.uniform(9, 15)
    for lift, shade in ((3.0, 0.28), (0.0, 0.0)) if not flap else ((0.0, 0.0),):
        arch = path(
            f"M {left} {top + 8} L {left} {top - 4} C {left} {arch_top - lift + 3} 41 {arch_top - lift} 50 "
            f"{arch_top - lift} "
            f"C 59 {arch_top - lift} {right} {arch_top - lift + 3} {right} {top - 4} "
            f"L {right} {top + 8}"
        )
        c.line(arch, 3.0, darker(leather, 0.3 + shade * 0.5))
        c.line(shifted(arch, -0.3, -0.3), 2.0, darker(leather, shade))
        c.line(shifted(arch, -0.7, -0.5), 0.5, lighter(leather, 0.25))

    half = path(
        f"M 50 {top} L {73 + wide * 0.4} {top} "
        f"C {75.6 + wide * 0.4} {top} {77.4 + wide * 0.4} {top + 1.4} {78 + wide * 0.4} {top + 4} "
        f"L {85 + wide} 82 C {85.6 + wide} 86 {83.6 + wide} 88.4 {80 + wide} 88.4 L 50 88.4"
    )
    body = mirrored(half)
    if not flap:
        c.solid(
            path(
                f"M {28 - wide * 0.4} {top + 1} "
                f"C 40 {top - 3.4} 60 {top - 3.4} {72 + wide * 0.4} {top + 1} L 72 {top + 8} "
                f"L 28 {top + 8} Z"
            ),
            p.deep,
            depth=0.2,
        )
    c.solid(body, cloth, depth=0.36, soft=6)
    base = mirrored(
        path(
            f"M 50 80 L {84.6 + wide} 80 L {85 + wide} 82 "
            f"C {85.6 + wide} 86 {83.6 + wide} 88.4 {80 + wide} 88.4 L 50 88.4"
        )
    )
    c.cast(base, dx=0, dy=-0.7, soft=0.8, dark=0.22)
    c.solid(base, leather, depth=0.35, soft=3)
    c.stitch(path(f"M {16.6 - wide} 81.4 L {83.4 + wide} 81.4"), lighter(leather, 0.4))
    side = path(f"M {75.4 + wide * 0.4} {top + 4} L {81.6 + wide} 80")
    for seam in (side, reflected(side)):
        c.stitch(seam, p.seam)

    if flap:
        lid = mirrored(
            path(
                f"M 50 {top - 1.4} L {74 + wide * 0.4} {top - 1.4} "
                f"C {77 + wide * 0.4} {top - 1.2} {78.6 + wide * 0.4} {top + 1} {79.2 + wide * 0.4} {top + 4} "
                f"L {79.4 + wide * 0.5} {top + 10} "
                f"C {78 + wide * 0.4} {top + 22} 62 {top + 25} 50 {top + 25}"
            )
        )
        c.cast(lid, dx=0.6, dy=2.2, soft=1.8, dark=0.45)
        c.solid(lid, cloth, depth=0.3, soft=4, gleam=0.7)
        edge = path(
            f"M {77 + wide * 0.5} {top + 9} C {75.4 + wide * 0.4} {top + 20} 61 {top + 22.8} 50 {top + 22.8}"
        )
        c.stitch(np.vstack([edge, reflected(edge)[::-1]]), p.seam)
        strap = rounded(46.2, top + 15, 53.8, top + 33, 2.2)
        c.cast(strap, dx=0.5, dy=1, soft=1, dark=0.35)
        c.solid(strap, leather, depth=0.3, soft=2)
        clasp = rounded(44.8, top + 23.4, 55.2, top + 29.4, 1.6)
        c.cast(clasp, dx=0.4, dy=0.8, soft=0.7, dark=0.4)
        c.solid(clasp, GOLD, depth=0.45, soft=1.6, gleam=1.2)
        c.disc(50, top + 26.4, 1.1, darker(GOLD, 0.45))
    else:
        rim = path(f"M {25.4 - wide * 0.4} {top + 4.4} L {74.6 + wide * 0.4} {top + 4.4}")
        c.stitch(rim, p.seam)
        patch = rounded(42.5, top + 16, 57.5, top + 25, 1.2)
        c.cast(patch, dx=0.3, dy=0.6, soft=0.7, dark=0.3)
        c.solid(patch, leather, depth=0.25, soft=2)
        c.stitch(rounded(43.7, top + 17.2, 56.3, top + 23.8, 0.8), lighter(leather, 0.4), dash=1.0, width=0.3)
    for x in (left, right):
        tab = path(
            f"M {x - 2.6} {top - 2.4} L {x + 2.6} {top - 2.4} L {x + 2.2} {top + 11} "
            f"L {x} {top + 13.4} L {x - 2.2} {top + 11} Z"
        )
        c.cast(tab, dx=0.4, dy=0.7, soft=0.8, dark=0.35)
        c.solid(tab, leather, depth=0.3, soft=1.6)
        c.disc(x, top + 8.6, 0.9, GOLD)
        ring = ellipse(x, top - 3.4, 2.5, 2.5)
        c.line(ring, 1.0, GOLD)


def backpack(s: Sketch) -> None:
    """A daypack: grab loop, shoulder straps behind, a zipped main compartment, a front and two side pockets."""
    c, p, rng = s.canvas, s.palette, s.rng
    broad = rng.uniform(-2.5, 2.5)
    low = rng.uniform(-2, 2)
    cloth = s.cloth.cut(scale=0.85)
    zip_colour = STEEL if luminance(p.trim) < 150 else darker(STEEL, 0.5)

    grip = path("M 42 16 C 42 6.6 58 6.6 58 16")
    c.line(grip, 3.0, darker(p.trim, 0.25))
    c.line(shifted(grip, 0, -0.4), 1.8, p.trim)
    strap = path(
        f"M {68 + broad} 22 C {80 + broad} 26 {85 + broad} 44 {83 + broad} 70 L {77 + broad} 74 L 72 40 Z"
    )
    for outline in (strap, reflected(strap)):
        c.solid(outline, darker(p.trim, 0.2), depth=0.3, soft=2)
    pocket = path(
        f"M {72 + broad} 56 C {80 + broad} 55 {83 + broad} 58 {83.4 + broad} 64 "
        f"L {83 + broad} 82 C {82.6 + broad} 86 {79 + broad} 88 {74 + broad} 88 Z"
    )
    for outline in (pocket, reflected(pocket)):
        c.solid(outline, p.trim, depth=0.4, soft=3)

    body = mirrored(
        path(
            f"M 50 12.5 C 64 12.5 {72 + broad} 18 {74.6 + broad} 32 "
            f"C {77 + broad} 46 {77.6 + broad} 66 {76.6 + broad} 81 "
            f"C {76 + broad} 88 {71 + broad} 90 {64 + broad} 90.4 L 50 90.4"
        )
    )
    c.solid(body, cloth, depth=0.4, soft=7)
    seam = path(
        f"M 50 15.6 C 62 15.6 {69.4 + broad} 20.6 {71.6 + broad} 33 "
        f"C {73 + broad} 40 {73.4 + broad} 46 {73.8 + broad} 52"
    )
    arch = np.vstack([reflected(seam)[::-1], seam])
    c.fold([arch], width=1.8, soft=1.0, dark=0.3)
    c.line(arch, 1.5, darker(p.trim, 0.3))
    c.stitch(arch, zip_colour, dash=0.5, width=0.9)
    pull = rounded(62.6, 17.6, 64.8, 24.4, 1)
    c.solid(pull, GOLD, depth=0.4, soft=1)
    c.disc(63.7, 18.4, 1.3, GOLD)

    y = 52 + low
    front = rounded(31 - broad * 0.7, y, 69 + broad * 0.7, 86, 7)
    c.cast(front, dx=0.5, dy=1.6, soft=1.8, dark=0.4)
    c.solid(front, cloth, depth=0.32, soft=5, gleam=0.7)
    c.stitch(rounded(32.4 - broad * 0.7, y + 1.4, 67.6 + broad * 0.7, 84.6, 6), p.seam)
    flap = path(
        f"M {31 - broad * 0.7} {y + 6} "
        f"C {31 - broad * 0.7} {y + 1} 34 {y - 1} 38 {y - 1} L 62 {y - 1} "
        f"C 66 {y - 1} {69 + broad * 0.7} {y + 1} {69 + broad * 0.7} {y + 6} "
        f"L {69 + broad * 0.7} {y + 9} L {31 - broad * 0.7} {y + 9} Z"
    )
    c.cast(flap, dx=0.2, dy=1, soft=0.9, dark=0.35)
    c.solid(flap, p.trim, depth=0.28, soft=2.5)
    teeth = path(f"M {33.4 - broad * 0.7} {y + 6.6} L {66.6 + broad * 0.7} {y + 6.6}")
    c.line(teeth, 1.1, darker(p.trim, 0.4))
    c.stitch(teeth, zip_colour, dash=0.5, width=0.7)
    c.solid(rounded(39, y + 6, 41, y + 12.4, 0.9), GOLD, depth=0.4, soft=1)

    patch = path("M 50 30 L 55.6 33.4 L 55.6 40 L 50 43.4 L 44.4 40 L 44.4 33.4 Z")
    c.cast(patch, dx=0.3, dy=0.6, soft=0.7, dark=0.3)
    c.solid(patch, LEATHER if luminance(p.base) > 80 else (196, 150, 100), depth=0.25, soft=2)
    c.line(path("M 47.6 34.4 L 49.2 39.4 M 47.6 34.4"), 0.6, GOLD)
    c.line(path("M 52.4 34.4 L 50.8 39.4"), 0.6, GOLD)
    c.ridge(
        [path(f"M {33 - broad} 26 C {29 - broad} 34 {28 - broad} 42 {28 - broad} 50")],
        width=2.6,
        soft=2.2,
        light=0.16,
    )


DRAWINGS = {
    "handbag": Drawing(handbag, standing=True, turn=0.0),
    "backpack": Drawing(backpack, standing=True, turn=0.0),
}
