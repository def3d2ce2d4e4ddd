"""Hats, watches and umbrellas."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from vizrec_spark.demo.drawing.palette import GOLD, INK, STEEL, WHITE, WOOD, darker, lighter, luminance
from vizrec_spark.demo.drawing.paths import ellipse, path, reflected, rounded, shifted
from vizrec_spark.demo.drawing.sketch import Drawing, Sketch


def hat(s: Sketch) -> None:
    """A fedora with a pinched crown, a wide brim and a ribbon."""
    c, p, rng = s.canvas, s.palette, s.rng
    tall = rng.uniform(-4, 4)
    brim_x = rng.uniform(40, 44)
    brim_y = rng.uniform(10.5, 13.5)
    cloth = s.cloth.cut(scale=0.8)
    ribbon = p.accent if s.rng.random() < 0.5 else p.deep
    if abs(luminance(ribbon) - luminance(p.base)) < 40:
        ribbon = darker(p.base, 0.55) if luminance(p.base) > 110 else lighter(p.base, 0.6)

    under = ellipse(50, 68.5, brim_x, brim_y)
    c.solid(under, p.deep, depth=0.2)
    brim = path(
        f"M {50 - brim_x} 64 C {50 - brim_x} {63 - brim_y} {50 + brim_x} {63 - brim_y} {50 + brim_x} 64 "
        f"C {50 + brim_x} {70 + brim_y * 0.7} 70 {71 + brim_y} 50 {71 + brim_y} "
        f"C 30 {71 + brim_y} {50 - brim_x} {70 + brim_y * 0.7} {50 - brim_x} 64 Z"
    )
    c.solid(brim, cloth, depth=0.34, soft=4, gleam=0.8)
    rim = path(
        f"M {51.4 - brim_x} 67 C {54 - brim_x} {69 + brim_y * 0.6} 32 {69.4 + brim_y} 50 {69.4 + brim_y} "
        f"C 68 {69.4 + brim_y} {46 + brim_x} {69 + brim_y * 0.6} {48.6 + brim_x} 67"
    )
    c.stitch(rim, p.seam, dash=1.2)
    top = 25 - tall
    crown = path(
        f"M 25 66 C 26 50 28 38 31 {top + 7} C 33 {top} 38 {top - 3.4} 43 {top - 2.4} "
        f"C 46.4 {top - 1.6} 48 {top + 1.4} 50 {top + 1.4} "
        f"C 52 {top + 1.4} 53.6 {top - 1.6} 57 {top - 2.4} "
        f"C 62 {top - 3.4} 67 {top} 69 {top + 7} C 72 38 74 50 75 66 C 66 73 34 73 25 66 Z"
    )
    c.cast(crown, dx=2.4, dy=3.2, soft=2.6, dark=0.42)
    c.lathe(crown, cloth, depth=0.42, gleam=0.14)
    pinch = path(f"M 50 {top + 1.6} C 50.6 {top + 10} 49.4 {top + 16} 50 {top + 22}")
    dents = [path(f"M 38 {top + 3} C 42 {top + 10} 44 {top + 16} 43.4 {top + 22}")]
    c.fold([pinch], width=2.4, soft=1.8, dark=0.34)
    c.fold([*dents, reflected(dents[0])], width=2.6, soft=2.2, dark=0.24)
    band = path(
        "M 25.6 55.6 C 34 62.4 66 62.4 74.4 55.6 C 74.8 59 75 62.6 75 66 "
        "C 66 73 34 73 25 66 C 25 62.6 25.2 59 25.6 55.6 Z"
    )
    c.lathe(band, ribbon, depth=0.45, gleam=0.2)
    c.line(path("M 25.6 56.2 C 34 63 66 63 74.4 56.2"), 0.4, lighter(ribbon, 0.2))
    knot = path("M 66 60.4 L 71.6 58.2 L 72.4 67 L 67 69.2 Z")
    c.cast(knot, dx=0.5, dy=0.5, soft=0.7, dark=0.35)
    c.solid(knot, ribbon, depth=0.35, soft=1.5, gleam=1.0)
    c.fold([path("M 25.4 66.6 C 34 73.6 66 73.6 74.6 66.6")], width=1.2, soft=0.9, dark=0.4)


def watch(s: Sketch) -> None:
    """A wrist watch on a cloth or leather strap: case, dial with marks and hands, crown, buckle."""
    c, p, rng = s.canvas, s.palette, s.rng
    radius = rng.uniform(20.0, 23.0)
    metal = GOLD if rng.random() < 0.45 else STEEL
    pale_dial = rng.random() < 0.7 or luminance(p.base) < 70
    dial, ink = (WHITE, INK) if pale_dial else (darker(p.base, 0.45), WHITE)
    width = radius * 0.62
    cloth = s.cloth.cut(scale=0.55)

    buckle = rounded(50 - width * 0.95, 3.6, 50 + width * 0.95, 11.0, 2)
    c.line(np.vstack([buckle, buckle[:1]]), 1.6, metal)
    upper = path(f"M {50 - width * 0.8} 7.4 L {50 + width * 0.8} 7.4 L {50 + width} 36 L {50 - width} 36 Z")
    lower = path(
        f"M {50 - width} 64 L {50 + width} 64 L {50 + width * 0.8} 90 "
        f"C {50 + width * 0.7} 96 {50 - width * 0.7} 96 {50 - width * 0.8} 90 Z"
    )
    for strap in (upper, lower):
        c.lathe(strap, cloth, depth=0.32, gleam=0.12)
    for side in (-1, 1):
        c.stitch(
            path(f"M {50 + side * (width * 0.8 - 1.5)} 9 L {50 + side * (width - 1.6)} 34"),
            p.seam,
            dash=1.3,
        )
        c.stitch(
            path(f"M {50 + side * (width - 1.6)} 66 L {50 + side * (width * 0.8 - 1.6)} 90"),
            p.seam,
            dash=1.3,
        )
    for y in (76.5, 81, 85.5, 90):
        c.disc(50, y, 0.95, darker(p.base, 0.75))
    keeper = rounded(50 - width * 0.95, 16, 50 + width * 0.95, 20, 1)
    c.cast(keeper, dx=0, dy=0.8, soft=0.8, dark=0.4)
    c.solid(keeper, p.trim, depth=0.3, soft=1.4)
    c.line(path("M 50 7 L 50 12.6"), 1.0, lighter(metal, 0.2))

    for lug in (28.5, 66.5):
        bar = rounded(50 - width - 1.2, lug, 50 + width + 1.2, lug + 5, 1.4)
        c.cast(bar, dx=0, dy=1, soft=1, dark=0.3)
        c.solid(bar, darker(metal, 0.12), depth=0.4, soft=1.6)
    crown = rounded(50 + radius - 0.6, 46.8, 50 + radius + 3.8, 53.2, 1)
    c.solid(crown, metal, depth=0.5, soft=1.4)
    case = ellipse(50, 50, radius, radius)
    c.cast(case, dx=0.8, dy=1.8, soft=1.6, dark=0.4)
    c.solid(case, metal, depth=0.5, soft=3, gleam=1.4)
    c.solid(ellipse(50, 50, radius * 0.9, radius * 0.9), darker(metal, 0.35), depth=0.25, soft=1, gleam=0)
    face = ellipse(50, 50, radius * 0.86, radius * 0.86)
    c.flat(face, dial)
    c.fold([ellipse(49.6, 49.4, radius * 0.84, radius * 0.84)], width=1.8, soft=1.2, dark=0.3)
    for k in range(12):
        angle = math.radians(30 * k)
        ahead = np.array([math.sin(angle), -math.cos(angle)])
        outer, inner = radius * 0.78, radius * (0.62 if k % 3 == 0 else 0.69)
        c.line(np.stack([50 + ahead * inner, 50 + ahead * outer]), 1.1 if k % 3 == 0 else 0.6, ink)
    if rng.random() < 0.4:
        c.line(ellipse(50, 50 + radius * 0.36, radius * 0.19, radius * 0.19), 0.4, ink)
        c.line(
            path(f"M 50 {50 + radius * 0.36} L {50 + radius * 0.1} {50 + radius * 0.28}"),
            0.5,
            p.base,
        )
    minute = rng.uniform(0, 2 * math.pi)
    hour = minute / 12 + 2 * math.pi * rng.randrange(12) / 12
    for angle, reach, thick in ((hour, 0.42, 1.6), (minute, 0.64, 1.1)):
        ahead = np.array([math.sin(angle), -math.cos(angle)]) * radius
        c.line(np.stack([50 - ahead * 0.1, 50 + ahead * reach]), thick, ink)
    hand = (206, 60, 50) if p.base[0] < 180 else (40, 90, 170)
    sweep = rng.uniform(0, 2 * math.pi)
    ahead = np.array([math.sin(sweep), -math.cos(sweep)]) * radius
    c.line(np.stack([50 - ahead * 0.18, 50 + ahead * 0.7]), 0.45, hand)
    c.disc(50, 50, 1.3, hand)
    glass = path(
        f"M {50 - radius * 0.6} 50 "
        f"C {50 - radius * 0.6} {50 - radius * 0.45} {50 - radius * 0.3} {50 - radius * 0.7} 54 {50 - radius * 0.68} "
        f"C 46 {50 - radius * 0.4} 42 48 {50 - radius * 0.6} 50 Z"
    )
    c.gloss(glass, soft=1.8, light=0.22)


def umbrella(s: Sketch) -> None:
    """An open umbrella with eight ribs and a crooked wooden handle."""
    c, p, rng = s.canvas, s.palette, s.rng
    dome = rng.uniform(-3, 3)
    wood = WOOD if luminance(p.base) > 60 else lighter(WOOD, 0.2)
    two_tone = rng.random() < 0.25

    c.line(path("M 50 11.5 L 50 18"), 1.4, darker(STEEL, 0.2))
    c.line(path("M 50 40 L 50 80"), 1.5, darker(STEEL, 0.12))
    crook = path("M 50 72 L 50 84 C 50 93.4 62.6 93.4 62.6 84.6 L 62.6 82.6")
    c.line(crook, 3.2, darker(wood, 0.25))
    c.line(shifted(crook, -0.4, -0.2), 2.0, wood)
    c.line(shifted(crook, -0.8, -0.3), 0.6, lighter(wood, 0.35))

    # Five panels between six ribs; each rib bends outwards from the top by its own reach.
    edges = [7.0, 20.5, 38.0, 62.0, 79.5, 93.0]
    reaches = [-41.0, -28.5, -12.0, 12.0, 28.5, 41.0]
    top, rim = 17.0 - dome, 50.0
    hems = [f"Q {(a + b) / 2} {rim - 5.5} {b} {rim}" for a, b in pairwise(edges)]
    under = np.vstack([path(" ".join([f"M {edges[0]} {rim}", *hems])), path("M 93 50 C 70 37 30 37 7 50")])
    c.solid(under, p.deep, depth=0.3, soft=2)
    bends = [
        (f"{50 + reach * 0.62} {top + 1 + abs(reach) * 0.05}", f"{50 + reach * 0.98} {top + 14}")
        for reach in reaches
    ]
    for k, hem in enumerate(hems):
        (near, far), (next_near, next_far) = bends[k], bends[k + 1]
        panel = path(f"M 50 {top} C {near} {far} {edges[k]} {rim} {hem} C {next_far} {next_near} 50 {top}")
        turn = (k - 2) * -18.0
        paint = p.accent if two_tone and k % 2 else s.cloth.cut(turn=turn, scale=0.9)
        c.solid(panel, paint, depth=0.2 + 0.06 * k, soft=4, gleam=1.0 - 0.2 * k)
        rib = panel[:19]
        c.fold([rib], width=0.7, soft=0.6, dark=0.4)
        c.ridge([shifted(rib, 1.3, 0.3)], width=1.1, soft=0.9, light=0.14)
    for x in edges:
        c.line(np.array([[x, rim - 0.4], [x, rim + 1.2]]), 0.9, darker(STEEL, 0.2))
    c.solid(rounded(48.4, top - 1.4, 51.6, top + 2, 1), p.deep, depth=0.3, soft=1)


DRAWINGS = {
    "hat": Drawing(hat, standing=False, turn=4.0),
    "watch": Drawing(watch, standing=False, turn=6.0),
    "umbrella": Drawing(umbrella, standing=False, turn=8.0),
}
