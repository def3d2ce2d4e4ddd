"""Armchairs, standing, and cushions, lying."""

from __future__ import annotations

import numpy as np

from vizrec_spark.demo.drawing.palette import WOOD, darker
from vizrec_spark.demo.drawing.paths import ellipse, mirrored, path, reflected
from vizrec_spark.demo.drawing.sketch import Drawing, Sketch


def chair(s: Sketch) -> None:
    """An upholstered armchair on wooden legs; back and arms vary, some have buttons in the back."""
    c, p, rng = s.canvas, s.palette, s.rng
    back_top = rng.uniform(13, 20)
    ear = rng.uniform(-2, 3)
    arm = rng.uniform(-2, 3)
    wood = WOOD if rng.random() < 0.6 else darker(WOOD, 0.5)
    cloth = s.cloth.cut(scale=0.9)

    for x0, x1, foot in ((31, 35, 89.5), (65, 69, 89.5)):
        c.solid(
            path(f"M {x0} 74 L {x1} 74 L {x1 - 0.8} {foot} L {x0 + 0.8} {foot} Z"),
            darker(wood, 0.4),
            depth=0.3,
            soft=1,
        )
    for side in (-1, 1):
        leg = path(
            f"M {50 + side * 33} 80 L {50 + side * 27} 80 L {50 + side * 31.4} 92 L {50 + side * 33.8} 92 Z"
        )
        c.solid(leg, wood, depth=0.4, soft=1.4)
    back = mirrored(
        path(
            f"M 50 {back_top} C 62 {back_top} {70 + ear} {back_top + 1} {73.4 + ear} {back_top + 6} "
            f"C {76 + ear} {back_top + 12} 75 44 73 62 L 50 62"
        )
    )
    c.solid(back, cloth, depth=0.38, soft=6, gleam=0.7)
    piping = path(
        f"M 50 {back_top + 3} "
        f"C 61 {back_top + 3} {67.6 + ear} {back_top + 3.6} {70.4 + ear} {back_top + 8} "
        f"C {72.6 + ear} {back_top + 13} 72 42 70.4 54"
    )
    c.fold([np.vstack([reflected(piping)[::-1], piping])], width=0.8, soft=0.6, dark=0.35)
    if rng.random() < 0.5:
        rows = ((back_top + 13, (38, 50, 62)), (back_top + 23, (44, 56)))
        for y, xs in rows:
            c.fold(
                [path(f"M {x - 0.4} {y} L {x + 0.4} {y + 0.3}") for x in xs],
                width=3.6,
                soft=1.6,
                dark=0.6,
            )
            for x in xs:
                c.disc(x, y, 0.95, p.trim)
    c.fold([path("M 28 56.4 L 72 56.4")], width=3.4, soft=2.2, dark=0.5)
    front = path("M 20 68 L 80 68 L 79 82 C 60 83.6 40 83.6 21 82 Z")
    c.solid(front, cloth, depth=0.35, soft=4, gleam=0.2)
    cushion = path(
        "M 26 57.4 C 40 55.4 60 55.4 74 57.4 C 77.4 59 78 68 76 71.2 "
        "C 60 73.4 40 73.4 24 71.2 C 22 68 22.6 59 26 57.4 Z"
    )
    c.cast(cushion, dx=0.4, dy=2.0, soft=1.6, dark=0.45)
    c.solid(cushion, s.cloth.cut(scale=0.9, turn=0.0), depth=0.3, soft=3.5, gleam=1.0)
    c.fold([path("M 23.4 65.6 C 40 68 60 68 76.6 65.6")], width=0.7, soft=0.6, dark=0.4)
    outer = path(
        f"M {76.6} {50 - arm} C {77} {44.4 - arm} {88.4} {44.4 - arm} {88.8} {50.6 - arm} "
        f"C 89 60 88 72 86.6 81.4 C 84 83 78 83 75.4 82 C 74.4 72 75 60 {76.6} {50 - arm} Z"
    )
    for outline in (outer, reflected(outer)):
        c.cast(outline, dx=-0.8 if outline is outer else 1.0, dy=0.6, soft=1.8, dark=0.38)
        c.solid(outline, cloth, depth=0.36, soft=3.4, gleam=0.9)
    scroll = path(
        f"M 78.4 {51.4 - arm} C 79 {47.4 - arm} 86.4 {47.4 - arm} 86.8 {51.6 - arm} C 86.8 60 86 70 84.8 79.8"
    )
    inner = path(f"M 78.4 {51.4 - arm} C 77 60 76.8 70 77.4 80")
    for line in (scroll, inner, reflected(scroll), reflected(inner)):
        c.fold([line], width=0.7, soft=0.6, dark=0.3)


def cushion(s: Sketch) -> None:
    """A plump cushion with piping; some have tassels at the corners, some a button."""
    c, p, rng = s.canvas, s.palette, s.rng
    plump = rng.uniform(-1.5, 2.0)
    cloth = s.cloth.cut(scale=1.15)
    finish = rng.randrange(3)
    near, far = 17.0, 83.0

    if finish == 0:
        for x, y in ((near, near), (far, near), (near, far), (far, far)):
            out = np.array([np.sign(x - 50), np.sign(y - 50)]) / np.sqrt(2)
            aside = np.array([-out[1], out[0]])
            root = np.array([x, y]) - out * 3
            for k in range(-3, 4):
                tip = root + out * (11 - abs(k) * 0.5) + aside * k * 1.1
                c.line(np.stack([root, tip]), 0.9, p.accent if k % 2 else darker(p.accent, 0.15))
            knot = root + out * 3.6
            c.disc(float(knot[0]), float(knot[1]), 1.8, darker(p.accent, 0.2))
    bow = 5.0 + plump
    outline = path(
        f"M {near} {near} Q 50 {near + bow} {far} {near} Q {far - bow} 50 {far} {far} "
        f"Q 50 {far - bow} {near} {far} Q {near + bow} 50 {near} {near} Z"
    )
    c.solid(outline, cloth, depth=0.42, soft=9, gleam=0.9)
    edge = np.vstack([outline, outline[:1]])
    c.line(edge, 1.5, p.trim if finish else p.accent)
    corners = [
        path("M 19 19 C 24 28 28 32 33 36"),
        path("M 24 20 C 31 25 36 28 42 30"),
        path("M 20 25 C 24 32 27 36 30 42"),
    ]
    creases = [*corners, *(reflected(crease) for crease in corners)]
    creases += [crease * (1.0, -1.0) + (0.0, 100.0) for crease in creases]
    c.fold(creases, width=1.6, soft=1.6, dark=0.2)
    c.gloss(ellipse(42, 41, 15, 13), soft=8, light=0.12)
    if finish == 1:
        c.fold([path("M 49.4 50 L 50.6 50")], width=5.5, soft=2.6, dark=0.65)
        c.fold(
            [
                path("M 50 50 L 36 44"),
                path("M 50 50 L 63 42"),
                path("M 50 50 L 60 61"),
                path("M 50 50 L 39 60"),
            ],
            width=1.2,
            soft=1.3,
            dark=0.22,
        )
        c.disc(50, 50, 2.3, darker(p.trim, 0.2))
        c.disc(49.7, 49.7, 1.7, p.trim)
    elif finish == 2:
        c.stitch(path("M 22 22 Q 50 26 78 22"), p.seam)
        c.stitch(path("M 22 78 Q 50 74 78 78"), p.seam)


DRAWINGS = {
    "chair": Drawing(chair, standing=True, turn=0.0),
    "cushion": Drawing(cushion, standing=False, turn=5.0),
}
