"""Curves over the threshold of one label's probability: ROC, precision-recall, and calibration."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

POINTS = 101
"""Most points of a curve that are kept."""
BINS = 10
"""Bins of a calibration curve, of equal width."""


class Curve(NamedTuple):
    """Points of a curve, all of one length; see table `adaptation_curves`."""

    x: Floats
    y: Floats
    threshold: Floats
    pictures: NDArray[np.int64]


def roc(positive: NDArray[np.bool_], probability: NDArray[np.floating]) -> tuple[Curve, float]:
    """False against true positive rate, and the area below it: the chance that a picture with the label has a higher
    probability than one without, ties one half (Fawcett 2006, "An Introduction to ROC Analysis"). positive,
    probability: (n,). Raises: ValueError when all pictures have the label, or none has."""
    hits, called, threshold = _steps(positive, probability)
    n, p = len(positive), int(positive.sum())
    if p in (0, n):
        raise ValueError(f"{p} of {n} pictures have the label: there is no curve")
    x, y = (called - hits) / (n - p), hits / p
    area = float(np.trapezoid(np.append(0.0, y), np.append(0.0, x)))
    return _thinned(Curve(x, y, threshold, called)), area


def precision_recall(positive: NDArray[np.bool_], probability: NDArray[np.floating]) -> tuple[Curve, float]:
    """Recall against precision, and the average precision Σ (R_i - R_{i-1}) P_i over thresholds, which does not
    interpolate (Davis and Goadrich 2006, "The Relationship Between Precision-Recall and ROC Curves"). Arguments as in
    `roc`. Raises: ValueError when no picture has the label."""
    hits, called, threshold = _steps(positive, probability)
    p = int(positive.sum())
    if p == 0:
        raise ValueError("no picture has the label: there is no curve")
    recall, precision = hits / p, hits / called
    area = float((np.diff(recall, prepend=0.0) * precision).sum())
    return _thinned(Curve(recall, precision, threshold, called)), area


def calibration(right: NDArray[np.bool_], probability: NDArray[np.floating]) -> tuple[Curve, float]:
    """Mean probability against the share that was right, in `BINS` bins, empty ones left out; and the expected
    calibration error Σ n_b / n |share - probability| (Guo et al. 2017, "On Calibration of Modern Neural Networks").
    right, probability: (n,), n > 0."""
    at = np.minimum((np.asarray(probability, np.float64) * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(at, minlength=BINS)
    there = count > 0
    mean = np.bincount(at, probability, minlength=BINS)[there] / count[there]
    share = np.bincount(at, right, minlength=BINS)[there] / count[there]
    error = float((count[there] * np.abs(share - mean)).sum() / count.sum())
    return Curve(np.minimum(mean, 1.0), share, np.flatnonzero(there) / BINS, count[there]), error


def _steps(
    positive: NDArray[np.bool_], probability: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """For each distinct probability, largest first: pictures with the label, and pictures, at it or above."""
    order = np.argsort(-probability, kind="stable")
    sorted_ = np.asarray(probability, np.float64)[order]
    last = np.append(np.flatnonzero(np.diff(sorted_)), len(sorted_) - 1)
    return np.cumsum(positive[order])[last].astype(np.int64), (last + 1).astype(np.int64), sorted_[last]


def _thinned(curve: Curve) -> Curve:
    """At most `POINTS` points, evenly by position, both ends among them."""
    n = len(curve.x)
    if n <= POINTS:
        return curve
    kept = np.unique(np.linspace(0, n - 1, POINTS).round().astype(np.int64))
    return Curve(curve.x[kept], curve.y[kept], curve.threshold[kept], curve.pictures[kept])
