"""The one look at the test pictures: figures, curves and mistakes as rows of the tables."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vizrec_spark.adapt.judging.classification import Share, accuracy, class_report, confusion, wilson
from vizrec_spark.adapt.judging.curves import Curve, calibration, precision_recall, roc
from vizrec_spark.adapt.judging.retrieval import Mean, mean_with_interval
from vizrec_spark.adapt.task import Task
from vizrec_spark.config.models import AdaptConfig
from vizrec_spark.kernels.adapted import Floats, given

Precisions = NDArray[np.float64]

NONE = ""
"""Stands for "no label" in `confusions` and `adaptation_mistakes`, and for "all" in `adaptation_metrics`."""


class Metric(NamedTuple):
    """A row of `adaptation_metrics`, without name and version."""

    metric: str
    label: str
    value: float
    lo: float | None
    hi: float | None
    pictures: int


class Judged(NamedTuple):
    """What was found on the test pictures. correct: accuracy; before, after, gain: precision of the nearest neighbours
    by the plain and the adapted vectors, and the paired difference; the rows of the tables without the encoder's id."""

    correct: Share
    before: Mean
    after: Mean
    gain: Mean
    metrics: list[Metric]
    confusions: list[tuple[str, str, int]]
    curves: list[tuple[str, str, int, float, float, float, int]]
    mistakes: list[tuple[str, int, str, str, float]]


def judge(
    task: Task, truth: NDArray[np.bool_], probabilities: Floats, plain: Precisions, own: Precisions,
    sha256: pa.StringArray, config: AdaptConfig,
) -> Judged:  # fmt: skip
    """`Judged` of n test pictures: truth and probabilities (n, classes), sha256 (n,); plain, own: of some of them the
    `neighbour_precision` of `config.k` by the plain and by the adapted vectors, both of the same pictures.

    Accuracy is that of the whole set of labels of a picture. Intervals are 95 %: Wilson's for shares, for precisions
    the bootstrap over pictures, paired for the gain.
    """
    k, n, compared = config.k, len(truth), len(own)
    gave = given(probabilities, task.kind)
    correct = accuracy(truth, gave)
    before, after, gain = (
        mean_with_interval(values, config.replicates, config.seed) for values in (plain, own, own - plain)
    )
    metrics = [
        Metric("accuracy", NONE, *correct, n),
        Metric(f"precision@{k}_before", NONE, *before, compared),
        Metric(f"precision@{k}", NONE, *after, compared),
        Metric(f"precision@{k}_gain", NONE, *gain, compared),
        *_report(task, truth, gave),
    ]
    curves: list[tuple[str, str, int, float, float, float, int]] = []
    for at, label in enumerate(task.classes):
        if truth[:, at].all():  # no label is missing from test pictures
            continue
        for name, metric, made in (
            ("roc", "roc_auc", roc(truth[:, at], probabilities[:, at])),
            ("precision_recall", "average_precision", precision_recall(truth[:, at], probabilities[:, at])),
        ):
            curves += _points(name, label, made[0])
            metrics.append(Metric(metric, label, made[1], None, None, n))
    if task.kind == "multi_label":
        right, sure = truth.ravel(), probabilities.ravel()
    else:
        right, sure = truth[gave], probabilities[gave]
    curve, error = calibration(right, sure)
    curves += _points("calibration", NONE, curve)
    metrics.append(Metric("expected_calibration_error", NONE, error, None, None, n))
    wrong = _mistakes(task, truth, gave, probabilities, config.mistakes)
    mistakes = [(label, rank, sha256[at].as_py(), *told) for label, rank, at, *told in wrong]
    return Judged(correct, before, after, gain, metrics, _confusions(task, truth, gave), curves, mistakes)


def _report(task: Task, truth: NDArray[np.bool_], gave: NDArray[np.bool_]) -> list[Metric]:
    report = class_report(truth, gave)
    rows: list[Metric] = []
    for at, label in enumerate(task.classes):
        support = int(report.support[at])
        called = int(gave[:, at].sum())
        hits = int((truth & gave)[:, at].sum())
        if called:
            rows.append(Metric("precision", label, *wilson(hits, called), called))
        if support:
            rows.append(Metric("recall", label, *wilson(hits, support), support))
            rows.append(Metric("f1", label, float(report.f1[at]), None, None, support))
    n, there = len(truth), report.support > 0
    for metric in ("precision", "recall", "f1"):
        values = getattr(report, metric)
        rows.append(Metric(f"macro_{metric}", NONE, float(values[there].mean()), None, None, n))
        weighted = float(np.average(values[there], weights=report.support[there]))
        rows.append(Metric(f"weighted_{metric}", NONE, weighted, None, None, n))
    return rows


def _points(name: str, label: str, curve: Curve) -> list[tuple[str, str, int, float, float, float, int]]:
    x, y, threshold, pictures = (part.tolist() for part in curve)
    return [(name, label, at, x[at], y[at], threshold[at], pictures[at]) for at in range(len(x))]


def _confusions(task: Task, truth: NDArray[np.bool_], gave: NDArray[np.bool_]) -> list[tuple[str, str, int]]:
    matrix = confusion(truth, gave)
    names = [*task.classes, NONE]
    size = len(names) if task.kind == "multi_label" else len(task.classes)
    return [(names[i], names[j], int(matrix[i, j])) for i in range(size) for j in range(size)]


def _mistakes(
    task: Task, truth: NDArray[np.bool_], gave: NDArray[np.bool_], probabilities: Floats, most: int
) -> list[tuple[str, int, int, str, float]]:
    """For each label the pictures (by position) that have it and did not get it, the surest mistake first."""
    wrong = np.where(gave & ~truth, probabilities, -1.0)
    instead, sure = wrong.argmax(axis=1), wrong.max(axis=1)
    rows: list[tuple[str, int, int, str, float]] = []
    for at, label in enumerate(task.classes):
        missed = np.flatnonzero(truth[:, at] & ~gave[:, at])
        surety = np.where(sure[missed] >= 0, sure[missed], 1 - probabilities[missed, at])
        for rank, place in enumerate(np.argsort(-surety, kind="stable")[:most], 1):
            row = int(missed[place])
            got = task.classes[instead[row]] if sure[row] >= 0 else NONE
            rows.append((label, rank, row, got, float(surety[place])))
    return rows
