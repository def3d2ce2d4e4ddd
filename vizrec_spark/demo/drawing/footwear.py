"""Sneakers and boots, standing, seen from the side with the toe to the right."""

from __future__ import annotations

import numpy as np

from vizrec_spark.demo.drawing.palette import LEATHER, RUBBER, WHITE, darker, lighter, luminance, mix
from vizrec_spark.demo.drawing.paths import ellipse, path, rounded, shifted
from vizrec_spark.demo.drawing.sketch import Drawing, Sketch


def sneaker(s: Sketch) -> None:
    """A canvas sneaker: rubber sole and toe cap, laces over a tongue, a panel at the heel."""
    c, p, rng = s.canvas, s.palette, s.rng
    high = rng.uniform(-3.5, 3.0)
    sole = rng.uniform(-0.8, 1.4)
    cloth = s.cloth.cut(scale=0.62)
    lace = WHITE if luminance(p.base) < 215 else mix(p.accent, WHITE, 0.2)

    tongue = path(
        f"M 37 46 L 40.5 {35 - high} C 41.5 {31.5 - high} 48.5 {31 - high} 50.5 {34.4 - high} "
        "L 64 51 L 52 58 Z"
    )
    c.solid(tongue, p.trim, depth=0.3, soft=2.5)
    lining = path(f"M 16 {45 - high} C 23 {39 - high} 33 {40 - high} 42 {42 - high} L 40 56 L 18 56 Z")
    c.solid(lining, p.deep, depth=0.3)

    upper = path(
        f"M 13 71 C 10.5 61 11.6 53 13.4 {45 - high} C 14 {40.6 - high} 18.6 {39.6 - high} "
        f"21.4 {43 - high} C 26 50 34 49.6 39 {42.6 - high} C 41 {39.8 - high} 44.6 {39.2 - high} "
        "47 40.6 L 65 52.8 C 75 57.6 88.4 58 90.8 68 L 91 73 L 13 73 Z"
    )
    c.solid(upper, cloth, depth=0.36, soft=5)

    stay = path(
        f"M 39 {42.6 - high} C 41 {39.8 - high} 44.6 {39.2 - high} 47 40.6 L 65.4 53 "
        "C 68 54.6 67.4 57.6 64 57.8 C 57.4 57.8 50.4 54.6 45 50.4 C 41.6 47.8 39.4 45.4 39 42.6 Z"
    )
    c.cast(stay, dx=0, dy=1, soft=1, dark=0.3)
    c.solid(stay, p.trim, depth=0.25, soft=2)
    c.stitch(path("M 41 47 C 47 52.4 56 56.6 64.4 56.6"), lighter(p.trim, 0.4), dash=1.1, width=0.35)

    heel = path(
        f"M 12.6 71 C 10.5 61 11.6 53 13.4 {45 - high} C 14 {40.6 - high} 18.6 {39.6 - high} "
        f"21.4 {43 - high} C 21.4 51 25 58 29.4 63 C 31.4 65 31 69 30.4 72 Z"
    )
    c.cast(heel, dx=0.8, dy=0.4, soft=1, dark=0.28)
    c.solid(heel, p.trim, depth=0.32, soft=3)
    c.stitch(
        path("M 20.2 46 C 20.4 53 23.4 59 27.8 64 C 28.8 66.6 28.8 69 28.6 71"),
        lighter(p.trim, 0.4),
        dash=1.1,
    )

    cap = path("M 76.4 57 C 73.6 61 73.4 67 75 73 L 92 73 C 92 63.4 86.6 58.4 76.4 57 Z")
    c.cast(cap, dx=-0.8, dy=0.2, soft=1, dark=0.25)
    c.solid(cap, RUBBER, depth=0.3, soft=3)
    c.gloss(ellipse(81.5, 62, 3.8, 1.3), soft=1.2, light=0.5)
    c.stitch(path("M 74.8 58 C 72 62 71.8 67 73.2 71"), p.seam, dash=1.1)

    for k in range(5):
        t = k / 4
        ax, ay = 45.4 + 15.6 * t, 38.6 + 11.0 * t
        bx, by = ax - 2.8 + 0.8 * t, ay + 6.4 - 1.2 * t
        if k < 4:
            c.line(np.array([[bx + 0.8, by - 0.4], [ax + 4.0, ay + 2.8]]), 0.9, darker(lace, 0.18))
        c.line(np.array([[ax, ay], [bx, by]]), 1.4, lace)
        c.disc(bx, by, 0.75, darker(p.trim, 0.4))
    knot = 37.6 - high * 0.3
    for bow in (
        f"M 45 {knot} C 37 {knot - 8} 33 {knot - 3} 36.6 {knot + 1} "
        f"C 39 {knot + 2.6} 43 {knot + 1.6} 45 {knot}",
        f"M 45 {knot} C 49 {knot - 9} 55 {knot - 7} 53 {knot - 2} "
        f"C 52 {knot + 0.4} 48 {knot + 0.8} 45 {knot}",
    ):
        c.line(path(bow), 1.1, lace)
    c.disc(45, knot, 1.1, darker(lace, 0.06))

    bottom = 82.4 + sole
    rim = path(
        f"M 11.4 70.6 C 30 72.4 70 72.6 92 70.2 C 94.6 72.4 94.6 {78 + sole} 91.4 {80.6 + sole} "
        f"C 89 {bottom} 84 {bottom} 80 {bottom} L 18 {bottom} "
        f"C 12 {bottom} 9.4 {79 + sole} 11.4 70.6 Z"
    )
    c.solid(rim, RUBBER, depth=0.3, soft=2.5)
    c.line(
        path(f"M 11.8 {75 + sole} C 30 {76.6 + sole} 70 {76.8 + sole} 93.4 {74.4 + sole}"),
        0.9,
        p.base,
    )
    c.flat(
        path(
            f"M 12.6 {80.6 + sole} L 91 {80.6 + sole} "
            f"C 88 {bottom + 0.2} 84 {bottom + 0.2} 80 {bottom + 0.2} L 18 {bottom + 0.2} "
            f"C 15 {bottom + 0.2} 13.6 {bottom} 12.6 {80.6 + sole} Z"
        ),
        darker(RUBBER, 0.32),
    )
    c.fold([path("M 14 70 C 34 71.8 70 71.8 90 69.8")], width=1.0, soft=0.8, dark=0.3)


def boot(s: Sketch) -> None:
    """An ankle boot with a stacked heel: laced, or with an elastic side; the shaft varies."""
    c, p, rng = s.canvas, s.palette, s.rng
    top = rng.uniform(11, 20)
    laced = rng.random() < 0.6
    cloth = s.cloth.cut(scale=0.7)
    sole = darker(LEATHER, 0.45)

    c.solid(
        path(f"M 25 {top + 3} C 34 {top - 2.2} 46 {top - 2.2} 55 {top + 3} L 50 {top + 9} L 28 {top + 9} Z"),
        p.deep,
        depth=0.3,
    )
    if laced:
        tongue = path(
            f"M 44 {top + 8} L 47 {top - 2.5} C 50 {top - 5} 57 {top - 4} 58.6 {top - 1} "
            f"L 60 {top + 9} L 62 46 L 50 46 Z"
        )
        c.solid(tongue, p.trim, depth=0.3, soft=2)
    shaft = path(
        f"M 24.6 {top + 2} C 34 {top + 5.2} 46 {top + 5.2} 56.4 {top + 1.6} "
        "C 56 28 56.6 38 60.4 45 C 64.6 52 75 53.4 82.6 57.4 C 89.4 61 91.6 67 91.6 75 L 91.6 79 L 23.4 79 "
        f"C 24.4 62 26.2 44 24.6 {top + 2} Z"
    )
    c.solid(shaft, cloth, depth=0.4, soft=6)

    counter = path(
        "M 24.4 54 C 32 54.6 38 60 39.4 68 C 39.8 72 39.6 76 39.4 80 L 23.4 80 C 23.6 70 24.2 62 24.4 54 Z"
    )
    c.cast(counter, dx=0.6, dy=0, soft=0.9, dark=0.25)
    c.solid(counter, p.trim, depth=0.35, soft=3)
    c.stitch(
        path("M 25 55.8 C 31.4 56.6 36.6 61.4 37.8 68.6 C 38.2 72 38 75 37.8 78"),
        lighter(p.trim, 0.35),
        dash=1.2,
    )
    cap = path(
        "M 74 54 C 69.8 60 68.8 70 70.2 80 L 92 80 L 92 75 C 91.6 67 89.4 61 82.6 57.4 C 80 56 77 55 74 54 Z"
    )
    c.cast(cap, dx=-0.6, dy=0, soft=0.9, dark=0.25)
    c.solid(cap, p.trim, depth=0.35, soft=3.5)
    c.stitch(path("M 75.8 55.6 C 71.8 61 70.8 70 72 78"), lighter(p.trim, 0.35), dash=1.2)
    c.gloss(ellipse(81, 62, 4.6, 1.5), soft=1.5, light=0.3)
    creases = [path("M 60 45 C 55 50 49 52 44 52"), path("M 63 49.4 C 58 55 52 57 47 57.4")]
    c.fold(creases, width=1.8, soft=1.4, dark=0.26)
    c.ridge([shifted(crease, 0, -2.2) for crease in creases], width=1.4, soft=1.3, light=0.12)
    c.ridge([path(f"M 34 {top + 10} C 34.6 32 34.4 44 33 52")], width=3.2, soft=2.6, light=0.16)

    if laced:
        stay = path(
            f"M 47.6 {top + 4.2} L 56.4 {top + 1.6} C 56 28 56.6 38 60.4 45 C 62 47.6 63 51 60.4 52 "
            "C 55.6 52.4 51.4 47 49.6 41 C 48 34 47.6 26 47.6 20 Z"
        )
        c.cast(stay, dx=-0.8, dy=0.4, soft=1, dark=0.28)
        c.solid(stay, p.trim, depth=0.25, soft=2)
        lace = (222, 184, 110) if luminance(p.base) > 60 else (226, 214, 190)
        steps = 6
        for k in range(steps):
            t = k / (steps - 1)
            y = top + 6.5 + (46.5 - top - 6.5) * t
            x = 56.2 + (4.4 * t**3)
            c.line(np.array([[x - 6.4, y + 1.6], [x + 1.2, y - 0.4]]), 1.25, lace)
            c.disc(x - 6.4, y + 1.6, 0.8, (196, 160, 90))
        for bow in (0.0, 1.0):
            knot = f"57 {top + 5}"
            out = f"C {62 + bow * 3} {top - 1 + bow * 6} {68 - bow} {top + 4 + bow * 8}"
            end = f"{63 - bow * 2} {top + 8 + bow * 5}"
            c.line(path(f"M {knot} {out} {end} C 61 {top + 8} 59 {top + 7} {knot}"), 1.0, lace)
    else:
        gore = path(
            f"M 34.6 {top + 4.4} L 46.6 {top + 4.2} C 46.4 32 45.4 42 42.4 48 "
            f"C 40.8 50 38.6 50 37.4 48 C 35.4 42 34.8 32 34.6 {top + 4.4} Z"
        )
        c.solid(gore, p.deep, depth=0.2, soft=2)
        for k in range(7):
            c.line(
                path(f"M {36 + k * 1.5} {top + 6} L {38 + k * 0.7} 46"),
                0.35,
                lighter(p.deep, 0.2),
            )
        c.stitch(
            path(
                f"M 33.4 {top + 6} C 33.6 32 34.2 42 36.4 49 C 38.4 52.4 41.4 52.4 43.4 49 "
                f"C 46.6 42 47.6 32 47.8 {top + 6}"
            ),
            p.seam,
            dash=1.2,
        )
    tab = rounded(22.6, top - 3.4, 27.2, top + 7.4, 1.6)
    c.solid(tab, p.trim, depth=0.3, soft=1.5)

    c.solid(
        path("M 22.8 78 L 92 77.4 C 93.8 79 93.8 82 91.6 83.6 C 80 84.4 60 84 48.6 82.6 L 22.6 82.6 Z"),
        sole,
        depth=0.35,
        soft=1.5,
    )
    c.solid(path("M 22.6 82 L 47 82 L 44.6 90 L 23.6 90 Z"), darker(sole, 0.15), depth=0.35, soft=2)
    c.stitch(path("M 24 79.6 L 91.6 79.2"), (214, 190, 140), dash=1.2, width=0.4)
    c.fold([path("M 24 77.6 L 91 77")], width=1.0, soft=0.8, dark=0.35)


DRAWINGS = {
    "sneaker": Drawing(sneaker, standing=True, turn=0.0, flips=True),
    "boot": Drawing(boot, standing=True, turn=0.0, flips=True),
}
