"""Counts of right and wrong labels: accuracy, classification report and confusion matrix."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

_Z = 1.959963984540054  # 97.5 % point of the standard normal distribution


class Share(NamedTuple):
    """A share with its 95 % interval, all 0 to 1."""

    value: float
    lo: float
    hi: float


class ClassReport(NamedTuple):
    """By label, each (classes,): precision, recall and f1 from 0 to 1 (0 where nothing was given, or nothing is
    there), support: pictures that have the label."""

    precision: Floats
    recall: Floats
    f1: Floats
    support: NDArray[np.int64]


def wilson(successes: int, n: int) -> Share:
    """`successes` / n with its score interval (Wilson 1927, "Probable Inference, the Law of Succession, and Statistical
    Inference"), which holds at shares near 0 and 1 too. Raises: ValueError unless 0 <= successes <= n and n > 0."""
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"expected 0 <= successes <= n and n > 0, got {successes} of {n}")
    share, z2 = successes / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Share(share, min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)))


def accuracy(truth: Bools, given: Bools) -> Share:
    """Pictures whose labels are exactly those that were given, of all; truth, given (n, classes)."""
    return wilson(int((truth == given).all(axis=1).sum()), len(truth))


def class_report(truth: Bools, given: Bools) -> ClassReport:
    """`ClassReport` of truth and given (n, classes)."""
    hits = (truth & given).sum(axis=0)
    support, called = truth.sum(axis=0), given.sum(axis=0)
    precision, recall = _ratio(hits, called), _ratio(hits, support)
    return ClassReport(precision, recall, _ratio(2 * hits, called + support), support.astype(np.int64))


def confusion(truth: Bools, given: Bools) -> NDArray[np.int64]:
    """Pictures by true label (rows) and label given (columns), and a last row and column for "none".

    With one label a picture this is the usual matrix. With several, a label that is right counts on the diagonal; each
    one that is missing counts in its row against every wrong one of the picture, or none; each wrong one with nothing
    missing counts in the row of none.
    """
    _n, classes = truth.shape
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    missing, wrong = truth & ~given, given & ~truth
    missing = np.column_stack([missing, ~missing.any(axis=1)]).astype(np.int64)
    wrong = np.column_stack([wrong, ~wrong.any(axis=1)]).astype(np.int64)
    matrix += missing.T @ wrong
    matrix[-1, -1] = 0  # pictures with nothing missing and nothing wrong
    matrix[np.arange(classes), np.arange(classes)] += (truth & given).sum(axis=0)
    return matrix


def _ratio(above: NDArray[np.integer], below: NDArray[np.integer]) -> Floats:
    return np.divide(above, below, out=np.zeros(len(below)), where=below > 0)
