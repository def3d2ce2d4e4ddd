"""Outlines as arrays of points, in a drawing space of 100 × 100 units with y pointing down."""

from __future__ import annotations

import math
import re
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

_TOKEN = re.compile(r"[MLCQZ]|-?\d*\.?\d+(?:e-?\d+)?")
_STEPS = 18  # points along one curve: chords stay within a third of a supersampled pixel of the arc


@lru_cache(maxsize=4)
def _bernstein(degree: int) -> Points:
    t = np.linspace(0.0, 1.0, _STEPS + 1)[1:, None]
    k = np.arange(degree + 1)
    binomial = np.array([math.comb(degree, int(i)) for i in k], dtype=float)
    return np.asarray(binomial * t**k * (1 - t) ** (degree - k))


@lru_cache(maxsize=4096)
def path(spec: str) -> Points:
    """Points (n, 2) along a path in the notation of SVG with absolute ``M L C Q`` (and ``Z``, which is optional).

    The array is shared between callers and must not be written to.
    """
    tokens = _TOKEN.findall(spec)
    pieces: list[Points] = []
    here = np.zeros(2)
    command, at = "", 0
    while at < len(tokens):
        if tokens[at].isalpha():
            command = tokens[at]
            at += 1
            if command == "Z":
                continue
        count = {"M": 1, "L": 1, "Q": 2, "C": 3}[command]
        control = np.array(tokens[at : at + 2 * count], dtype=float).reshape(count, 2)
        at += 2 * count
        if count == 1:
            pieces.append(control)
        else:
            pieces.append(_bernstein(count) @ np.vstack([here, control]))
        here = control[-1]
    points = np.vstack(pieces)
    points.setflags(write=False)
    return points


def mirrored(half: Points, axis: float = 50.0) -> Points:
    """The closed outline made of one half and its reflection at the vertical line x = axis."""
    return np.vstack([half, reflected(half, axis)[::-1]])


def reflected(points: Points, axis: float = 50.0) -> Points:
    """The reflection at the vertical line x = axis."""
    return np.asarray(points * (-1.0, 1.0) + np.array([2 * axis, 0.0]))


def shifted(points: Points, dx: float, dy: float) -> Points:
    """The same points, moved."""
    return np.asarray(points + np.array([dx, dy]))


def ellipse(cx: float, cy: float, rx: float, ry: float, start: float = 0.0, end: float = 360.0) -> Points:
    """Points on an ellipse, clockwise from ``start`` to ``end`` degrees (0 is to the right, 90 is down)."""
    steps = max(8, int(abs(end - start) / 360 * 60))
    t = np.radians(np.linspace(start, end, steps + 1))
    return np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], axis=1)


def rounded(x0: float, y0: float, x1: float, y1: float, radius: float) -> Points:
    """A rectangle with round corners."""
    r = min(radius, (x1 - x0) / 2, (y1 - y0) / 2)
    corners = ((x1 - r, y0 + r, -90), (x1 - r, y1 - r, 0), (x0 + r, y1 - r, 90), (x0 + r, y0 + r, 180))
    return np.vstack([ellipse(cx, cy, r, r, start, start + 90) for cx, cy, start in corners])


def band(points: Points, width: float) -> Points:
    """The closed outline of a ribbon of the given width laid along an open line."""
    ahead = np.gradient(points, axis=0)
    normal = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    return np.vstack([points + normal * width / 2, (points - normal * width / 2)[::-1]])
