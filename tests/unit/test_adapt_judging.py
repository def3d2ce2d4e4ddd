"""Figures on the test pictures against values solved by hand or by slow, obvious code."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizrec_spark.adapt.gate import decide
from vizrec_spark.adapt.judge import judge
from vizrec_spark.adapt.judging.classification import Share, accuracy, class_report, confusion, wilson
from vizrec_spark.adapt.judging.curves import POINTS, calibration, precision_recall, roc
from vizrec_spark.adapt.judging.retrieval import Mean, mean_with_interval, neighbour_precision
from vizrec_spark.adapt.task import Task
from vizrec_spark.config.models import AdaptConfig, AdaptGateConfig

TRUTH = np.eye(3, dtype=bool)[[0, 0, 0, 1, 1, 2]]
GIVEN = np.eye(3, dtype=bool)[[0, 0, 1, 1, 0, 1]]


def test_the_interval_is_that_of_the_textbook() -> None:
    assert wilson(81, 263) == pytest.approx((0.3080, 0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I
    assert wilson(0, 10).lo == 0.0 and wilson(10, 10).hi == 1.0
    with pytest.raises(ValueError, match="0 of 0"):
        wilson(0, 0)


def test_the_report_and_the_matrix_of_one_label_a_picture() -> None:
    report = class_report(TRUTH, GIVEN)
    assert report.precision == pytest.approx([2 / 3, 1 / 3, 0])
    assert report.recall == pytest.approx([2 / 3, 1 / 2, 0])
    assert report.f1 == pytest.approx([2 / 3, 2 / 5, 0])
    assert report.support.tolist() == [3, 2, 1]
    assert accuracy(TRUTH, GIVEN).value == 0.5
    assert confusion(TRUTH, GIVEN).tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_the_matrix_of_several_labels_a_picture() -> None:
    truth = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1]], bool)
    given_ = np.array([[1, 0, 1], [1, 1, 0], [0, 0, 0]], bool)
    # 1: a right, b taken for c; 2: a right, b too many; 3: c missed.
    assert confusion(truth, given_).tolist() == [[2, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 1, 0, 0]]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=60))
def test_the_area_is_the_chance_of_the_right_order(drawn: list[tuple[bool, int]]) -> None:
    positive = np.array([one for one, _ in drawn])
    probability = np.array([one for _, one in drawn]) / 5
    if positive.all() or not positive.any():
        with pytest.raises(ValueError, match="there is no curve"):
            roc(positive, probability)
        return
    curve, area = roc(positive, probability)
    yes, no = probability[positive], probability[~positive]
    better = (yes[:, None] > no).mean() + 0.5 * (yes[:, None] == no).mean()
    assert area == pytest.approx(better)
    assert (curve.x[-1], curve.y[-1]) == (1.0, 1.0)
    curve, area = precision_recall(positive, probability)
    by_hand = 0.0
    for value in sorted(set(probability.tolist()), reverse=True):
        called = probability >= value
        gained = (positive & (probability == value)).sum() / positive.sum()
        by_hand += gained * (positive & called).sum() / called.sum()
    assert area == pytest.approx(by_hand)


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    probability = np.linspace(0, 1, 1000)
    curve, area = roc(probability > 0.5, probability)
    assert len(curve.x) == POINTS
    assert (curve.x[-1], curve.pictures[-1], area) == (1.0, 1000, 1.0)


def test_calibration() -> None:
    right = np.array([True, False, True, True])
    curve, error = calibration(right, np.array([0.55, 0.55, 0.95, 1.0]))
    assert curve.threshold.tolist() == [0.5, 0.9]
    assert curve.x == pytest.approx([0.55, 0.975])
    assert curve.y == pytest.approx([0.5, 1.0])
    assert error == pytest.approx(0.5 * 0.05 + 0.5 * 0.025)


def test_neighbours_that_share_a_label() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(30, 5)).astype(np.float32)
    labels = random.random((30, 3)) < 0.4
    labels[~labels.any(axis=1), 0] = True
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    slow = []
    for row in range(30):
        near = [n for n in np.argsort(-(units @ units[row]), kind="stable") if n != row][:4]
        slow.append(np.mean([(labels[n] & labels[row]).any() for n in near]))
    assert neighbour_precision(vectors, labels, 4).tolist() == pytest.approx(slow)
    with pytest.raises(ValueError, match="no neighbours"):
        neighbour_precision(vectors[:1], labels[:1], 4)


def test_the_interval_of_a_mean_covers_it_and_narrows() -> None:
    values = np.random.default_rng(1).random(400)
    wide, narrow = (mean_with_interval(v, 500, 3) for v in (values[:40], values))
    assert wide.lo < wide.value < wide.hi
    # 1.96 standard errors to each side
    assert (narrow.hi - narrow.lo) == pytest.approx(3.92 * values.std() / 20, rel=0.15)
    assert narrow == mean_with_interval(values, 500, 3)


def test_the_rows_of_the_tables() -> None:
    probabilities = np.array(
        [
            [0.8, 0.1, 0.1],
            [0.6, 0.3, 0.1],
            [0.2, 0.7, 0.1],
            [0.1, 0.8, 0.1],
            [0.9, 0.05, 0.05],
            [0.1, 0.6, 0.3],
        ],
        np.float32,
    )
    plain, own = np.zeros(4), np.array([0.5, 0.0, 1.0, 0.5])  # of four pictures alone
    config = AdaptConfig(k=2, replicates=200, mistakes=1)
    task = Task("multi_class", ("a", "b", "c"))
    found = judge(task, TRUTH, probabilities, plain, own, pa.array(list("uvwxyz")), config)
    values = {(row.metric, row.label): row.value for row in found.metrics}
    assert values["accuracy", ""] == 0.5
    assert values["recall", "a"] == pytest.approx(2 / 3)
    assert values["macro_f1", ""] == pytest.approx((2 / 3 + 2 / 5) / 3)
    assert values["precision@2_gain", ""] == 0.5
    assert {row.pictures for row in found.metrics if row.metric.startswith("precision@2")} == {4}
    assert found.mistakes == [
        ("a", 1, "w", "b", pytest.approx(0.7)),
        ("b", 1, "y", "a", pytest.approx(0.9)),
        ("c", 1, "z", "b", pytest.approx(0.6)),
    ]
    assert len(found.confusions) == 9 and ("b", "a", 1) in found.confusions
    assert {row[0] for row in found.curves} == {"roc", "precision_recall", "calibration"}


RIGHT = Share(0.9, 0.85, 0.94)


@pytest.mark.parametrize(
    ("gain", "current", "rules", "promoted", "said"),
    [
        (Mean(0.1, 0.05, 0.15), None, AdaptGateConfig(), True, "promoted"),
        (Mean(0.1, 0.0, 0.2), None, AdaptGateConfig(), False, "the plain features"),
        (Mean(0.1, -0.01, 0.2), None, AdaptGateConfig(tolerance=0.01), True, "promoted"),
        (Mean(0.1, 0.05, 0.15), Mean(0.0, -0.02, 0.02), AdaptGateConfig(), False, "the version that serves"),
        (Mean(0.1, 0.05, 0.15), Mean(0.0, -0.02, 0.02), AdaptGateConfig(tolerance=0.05), True, "promoted"),
        (Mean(0.1, 0.05, 0.15), None, AdaptGateConfig(min_accuracy=0.95), False, "min_accuracy 0.9500"),
    ],
)
def test_the_gate(
    gain: Mean, current: Mean | None, rules: AdaptGateConfig, promoted: bool, said: str
) -> None:
    decision = decide(RIGHT, gain, current, 10, rules)
    assert decision.promoted is promoted
    assert said in decision.sentence
