"""T-shirts, dresses and trousers, laid flat and seen from above."""

from __future__ import annotations

import numpy as np

from vizrec_spark.demo.drawing.palette import GOLD, darker, lighter, luminance, mix
from vizrec_spark.demo.drawing.paths import band, ellipse, mirrored, path, reflected, rounded, shifted
from vizrec_spark.demo.drawing.sketch import Drawing, Sketch


def t_shirt(s: Sketch) -> None:
    """A T-shirt with a ribbed collar; sleeves and waist vary, some have a breast pocket or a V-neck."""
    c, p, rng = s.canvas, s.palette, s.rng
    sleeve = rng.uniform(-3, 4)
    waist = rng.uniform(-2.0, 1.0)
    v_neck = rng.random() < 0.3
    body_cloth = s.cloth.cut()

    inside = path("M 37 15 C 43 12.5 57 12.5 63 15 L 60 34 L 50 40 L 40 34 Z")
    c.solid(inside, p.deep, depth=0.2)

    right_sleeve = path(
        f"M 70 17.5 C 77 20.5 80.5 23 83 27 L {93 + sleeve * 0.4} {44 + sleeve} "
        f"L {80 + sleeve * 0.3} {51.5 + sleeve} L 71.5 42 Z"
    )
    right_cuff = path(f"M {92 + sleeve * 0.4} {42.2 + sleeve} L {79 + sleeve * 0.3} {49.6 + sleeve}")
    for outline, cuff, turn in (
        (right_sleeve, right_cuff, -32.0),
        (reflected(right_sleeve), reflected(right_cuff), 32.0),
    ):
        c.solid(outline, s.cloth.cut(turn=turn), depth=0.3)
        c.stitch(cuff, p.seam)
    low = "C 56 33 53.5 36 50 38.5" if v_neck else "C 60.5 27 56 30 50 30"
    half = path(
        f"M 50 38.5 L 50 {38.5 if v_neck else 30} "
        + ("C 53.5 36 57 30 60.5 15.2 " if v_neck else "C 56 30 60.5 27 61 15.2 ")
        + f"L 72.5 18.6 C 75 26 74.6 35 73.2 43 C {73.5 + waist} 56 {74 + waist} 72 75.5 87.2 "
        "C 67 89.2 58 90 50 90"
    )
    body = mirrored(half[1:])
    c.solid(body, body_cloth, depth=0.3, soft=5)
    neckline = path(f"M 61 15.2 {low}")
    collar = np.vstack([neckline, reflected(neckline)[::-1]])
    c.fold([shifted(collar, 0, 3.2)], width=1.6, soft=1.0, dark=0.2)
    rib = mix(p.base, p.trim, 0.55)
    c.flat(band(collar, 3.8), rib)
    for offset in (-0.8, 0.8):
        c.line(shifted(collar, 0, offset), 0.3, darker(rib, 0.14))
    c.stitch(shifted(collar, 0, 3.0), p.seam)

    hem = path("M 25.4 84 C 40 87 60 87 74.6 84")
    c.stitch(hem, p.seam)
    c.stitch(shifted(hem, 0, 1.2), p.seam)
    seam = path("M 72.4 18.6 C 75 26 74.6 35 73.2 43")
    armpits = [path("M 72.5 44 C 67 49 62 51 56 52"), path("M 73 47 C 69 55 66 59 62 64")]
    c.fold([seam, reflected(seam)], width=0.8, soft=0.7, dark=0.4)
    c.fold([*armpits, *(reflected(fold) for fold in armpits)], width=1.8, soft=1.5, dark=0.22)
    drape = [path("M 42 60 C 41 70 44 78 43 86"), path("M 60 66 C 62 74 59 80 61 87")]
    c.fold(drape, width=2.2, soft=2, dark=0.14)
    c.ridge([shifted(fold, 2.6, 0) for fold in drape], width=2.2, soft=2, light=0.09)

    if not v_neck and rng.random() < 0.4:
        pocket = path("M 57 42 L 69 42 L 69 53 L 63 56 L 57 53 Z")
        c.cast(pocket, dx=0.4, dy=0.8, soft=0.8, dark=0.25)
        c.solid(pocket, body_cloth, depth=0.12, soft=2)
        c.line(np.vstack([pocket, pocket[:1]]), 0.35, p.seam)
        c.stitch(path("M 57.5 44.2 L 68.5 44.2"), p.seam)


def dress(s: Sketch) -> None:
    """A fitted bodice and a wide skirt with a belt; straps or short sleeves, longer or shorter."""
    c, p, rng = s.canvas, s.palette, s.rng
    flare = rng.uniform(-4, 4)
    hem_y = rng.uniform(86, 92)
    sleeved = rng.random() < 0.5
    cloth = s.cloth.cut(scale=0.9)

    if sleeved:
        c.solid(path("M 40 9 C 45 7.5 55 7.5 60 9 L 59 24 L 41 24 Z"), p.deep, depth=0.2)
        right = path("M 62 10 C 68 11.5 72 15 73.5 22 C 74 25 72 27.5 68.5 28.4 L 63.5 25 Z")
        for outline, turn in ((right, -30.0), (reflected(right), 30.0)):
            c.solid(outline, s.cloth.cut(turn=turn, scale=0.9), depth=0.32, soft=3)
        top = "M 50 19 C 55 19 58 15.5 59.2 8.8 L 64 10.4 C 66 16 65.5 22 64 27"
    else:
        strap = path("M 57.6 8 L 60.4 8 C 62 13 62.6 18 62.6 23 L 59.4 23 C 59.2 18 58.6 13 57.6 8 Z")
        back = path("M 40 23 C 44 20 56 20 60 23 L 60 30 L 40 30 Z")
        c.solid(back, p.deep, depth=0.2)
        for outline in (strap, reflected(strap)):
            c.solid(outline, p.trim, depth=0.2, soft=1)
        top = "M 50 24.5 C 53 21.5 58 20.5 62.8 21 C 65.5 23 66 26 64.6 29"

    skirt_edge = 79 + flare
    skirt = mirrored(
        path(
            f"M 50 45 L 60.4 45 C 64 56 {72 + flare * 0.6} 72 {skirt_edge} {hem_y - 3} "
            f"C {skirt_edge - 5} {hem_y} {skirt_edge - 8} {hem_y - 1.2} "
            f"{skirt_edge - 13} {hem_y + 0.6} C 60 {hem_y + 1.8} 56 {hem_y} 50 {hem_y + 1.4}"
        )
    )
    c.solid(skirt, cloth, depth=0.34, soft=6)
    pleats, crests = [], []
    for k, x in enumerate((-0.72, -0.4, -0.12, 0.16, 0.44, 0.74)):
        foot = 50 + x * (skirt_edge - 50)
        head = 50 + x * 10.5
        y = 55 + (k % 2) * 5
        pleats.append(path(f"M {head + (foot - head) * 0.18} {y} L {foot} {hem_y + 1}"))
        crests.append(pleats[-1] + (2.4, 0))
    c.fold(pleats, width=1.5, soft=1.3, dark=0.32)
    c.ridge(crests, width=1.6, soft=1.4, light=0.12)

    bodice = mirrored(path(f"{top} C 63.6 34 60.8 40 60.4 46.5 L 50 46.5"))
    c.solid(bodice, cloth, depth=0.3, soft=4)
    dart = path("M 57.5 45 C 57.4 40 57.8 36 59 33")
    c.fold([dart, reflected(dart)], width=0.8, soft=0.7, dark=0.3)

    belt = path("M 39.2 43.2 C 45 44.4 55 44.4 60.8 43.2 L 61.2 47.6 C 55 48.8 45 48.8 38.8 47.6 Z")
    c.cast(belt, dx=0, dy=1.2, soft=1.2, dark=0.35)
    c.solid(belt, p.deep if luminance(p.base) > 70 else p.trim, depth=0.3, soft=2)
    buckle = rounded(46.6, 43.2, 53.4, 49.0, 1)
    c.line(np.vstack([buckle, buckle[:1]]), 0.9, GOLD)
    c.line(path("M 50 46 L 53.6 46"), 0.6, GOLD)


def trousers(s: Sketch) -> None:
    """Long trousers with waistband, loops, pockets and creases; slim to wide."""
    c, p, rng = s.canvas, s.palette, s.rng
    wide = rng.uniform(-2.5, 3.5)
    spread = rng.uniform(0, 2.5)
    cuffed = rng.random() < 0.35
    cloth = s.cloth.cut(scale=0.8)

    inside = path("M 35.5 9.5 C 44 8 56 8 64.5 9.5 L 64 15 L 36 15 Z")
    c.solid(inside, p.deep, depth=0.2)
    half = path(
        f"M 50 14 C 56 14 60 13 64.6 11 C 66 19 68.4 27 69.4 36 C 71 54 {71 + wide * 0.6 + spread} 72 "
        f"{70.5 + wide + spread} 91 C {66 + spread} 92 {60 - wide * 0.4 + spread} 92 "
        f"{56 - wide * 0.5 + spread} 91 C {55.4 - wide * 0.3 + spread} 74 54 54 50.4 38 L 50 38"
    )
    c.solid(mirrored(half), cloth, depth=0.34, soft=4)

    crease = path(f"M 60.6 40 C 61.6 56 {62 + spread} 74 {63.4 + wide * 0.3 + spread} 91")
    c.fold([crease, reflected(crease)], width=0.7, soft=0.7, dark=0.3)
    c.ridge([shifted(crease, 1.5, 0), shifted(reflected(crease), 1.5, 0)], width=1.2, soft=1.1, light=0.13)
    knees = [path("M 54.6 58 C 58 60 61 59 64 57"), path("M 70 62 C 67 65 63 65 60 64")]
    crotch = [path("M 50.4 38 C 54 37 58 34 60 31"), path("M 50.6 41 C 55 42 58 41 61 38")]
    c.fold([*knees, *crotch, *(reflected(f) for f in (*knees, *crotch))], width=1.6, soft=1.4, dark=0.2)

    waist = path("M 35.4 11 C 41 13.6 59 13.6 64.6 11 L 65.6 16.4 C 58 19.2 42 19.2 34.4 16.4 Z")
    c.cast(waist, dx=0, dy=0.8, soft=0.9, dark=0.3)
    c.solid(waist, p.trim, depth=0.25, soft=2)
    c.stitch(path("M 34.6 15.4 C 42 18.2 58 18.2 65.4 15.4"), lighter(p.trim, 0.35))
    for x, y in ((39.5, 12.4), (60.5, 12.4)):
        loop = rounded(x - 0.9, y - 0.6, x + 0.9, y + 6.2, 0.5)
        c.cast(loop, dx=0.3, dy=0.4, soft=0.5, dark=0.3)
        c.solid(loop, darker(p.trim, 0.12), depth=0.2, soft=1)
    c.disc(50, 15.6, 1.35, mix(GOLD, (120, 110, 100), 0.3))
    c.disc(49.8, 15.4, 0.75, lighter(GOLD, 0.35))

    fly = path("M 50 18.5 L 50 36 M 53.6 18.6 C 53.6 28 53 32 50.4 34.6")
    c.fold([path("M 50 18.5 L 50 38")], width=0.6, soft=0.5, dark=0.45)
    c.stitch(fly[2:], p.seam)
    pocket = path("M 58.6 18.2 C 59.4 24 63 27.4 67.4 28")
    for outline in (pocket, reflected(pocket)):
        c.fold([outline], width=0.8, soft=0.6, dark=0.4)
        c.stitch(shifted(outline, -0.9 if outline is pocket else 0.9, 1.2), p.seam)
    hem_y = 85.4 if cuffed else 88.4
    left, right = 56 - wide * 0.5 + spread, 70.4 + wide + spread
    if cuffed:
        cuff = path(
            f"M {left - 0.6} {hem_y} L {right + 0.6} {hem_y} L {right + 0.8} 91.6 "
            f"C {right - 4} 92.6 {left + 4} 92.6 {left - 0.8} 91.6 Z"
        )
        for outline in (cuff, reflected(cuff)):
            c.solid(outline, p.trim, depth=0.3, soft=2)
    else:
        hem = path(f"M {left} {hem_y} L {right} {hem_y}")
        for outline in (hem, reflected(hem)):
            c.stitch(outline, p.seam)
    c.gloss(ellipse(41, 30, 3, 9), soft=3, light=0.06)


DRAWINGS = {
    "t-shirt": Drawing(t_shirt, standing=False),
    "dress": Drawing(dress, standing=False),
    "trousers": Drawing(trousers, standing=False),
}
