"""Directions learned by contrast: the loss, what they find, and their election."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from vizrec_spark.adapt.choose import learn
from vizrec_spark.adapt.contrast import _contrastive, learn_contrast
from vizrec_spark.adapt.judging.retrieval import neighbour_precision
from vizrec_spark.adapt.network import Examples
from vizrec_spark.adapt.spool import Features
from vizrec_spark.config.models import AdaptConfig, ContrastConfig
from vizrec_spark.kernels.keras_import import import_keras

N, D = 360, 16
CONTRAST = ContrastConfig(enabled=True, epochs=12, batch_size=64, learning_rate=0.02)


def slow_loss(truth: NDArray[np.bool_], vectors: NDArray[np.float64], temperature: float) -> list[float]:
    """The formula of Khosla et al. 2020 (their equation 2), picture by picture."""
    found = []
    for i in range(len(vectors)):
        others = [j for j in range(len(vectors)) if j != i]
        alike = [j for j in others if (truth[i] & truth[j]).any()]
        whole = sum(np.exp(vectors[i] @ vectors[j] / temperature) for j in others)
        each = [-np.log(np.exp(vectors[i] @ vectors[j] / temperature) / whole) for j in alike]
        found.append(float(np.mean(each)) if each else 0.0)
    return found


def test_the_loss_is_that_of_the_formula() -> None:
    random = np.random.default_rng(1)
    truth = random.random((9, 3)) < 0.4
    truth[0] = [True, False, False]
    truth[8] = False  # shares no label with anybody
    vectors = random.normal(size=(9, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    loss = _contrastive(import_keras(), 0.3)(truth.astype(np.float32), vectors.astype(np.float32))
    assert np.asarray(loss).tolist() == pytest.approx(slow_loss(truth, vectors, 0.3), rel=1e-4)


@pytest.fixture(scope="module")
def apart() -> tuple[Features, NDArray[np.bool_]]:
    """Four labels that differ in four numbers, beside twelve that say nothing and vary more."""
    random = np.random.default_rng(2)
    label = np.arange(N) % 4
    raw = random.normal(size=(N, D)) * np.repeat([0.3, 1.5], [4, D - 4])
    raw[np.arange(N), label] += 1.0
    return Features(raw.astype(np.float32)), np.eye(4, dtype=bool)[label]


def test_it_finds_what_tells_the_labels_apart(apart: tuple[Features, NDArray[np.bool_]]) -> None:
    features, truth = apart
    early, held = np.arange(240), np.arange(240, N)
    start = np.eye(D)
    examples = Examples(features, early, truth, "multi_class")
    validation = Examples(features, held, truth, "multi_class")
    found = learn_contrast(examples, start, np.zeros(D), CONTRAST, 3, validation=validation)
    prepared = features.rows(held)
    before = neighbour_precision((prepared @ start).astype(np.float32), truth[held], 5).mean()
    after = neighbour_precision((prepared @ found.directions).astype(np.float32), truth[held], 5).mean()
    assert after > before + 0.1 and 1 <= found.epochs <= CONTRAST.epochs
    again = learn_contrast(examples, start, np.zeros(D), CONTRAST, 3, validation=validation)
    np.testing.assert_array_equal(again.directions, found.directions)


def test_it_is_elected_where_it_is_better_and_only_where_asked_for(
    apart: tuple[Features, NDArray[np.bool_]],
) -> None:
    features, truth = apart
    part = np.repeat(["train", "validation", "test"], [200, 80, 80])
    plain = AdaptConfig.model_validate(
        {
            "k": 5,
            "head": {"layers": (), "epochs": 2, "landmarks": 0},
            "projection": {"shrinkage": (1.0,), "keep": (0.0,), "labels": (0.0,), "dimensions": 16},
        }
    )
    asked = plain.model_copy(
        update={"projection": plain.projection.model_copy(update={"contrast": CONTRAST})}
    )
    without, with_it = (
        learn(features, truth, part, ("a", "b", "c", "d"), "multi_class", config) for config in (plain, asked)
    )
    assert "projection: shrinkage 1," in without.told[-1] and "projection: contrast" in with_it.told[-1]
    rows = np.flatnonzero(part == "test")
    scores = [
        neighbour_precision(learned.adapted.apply(features.raw[rows])[0], truth[rows], 5).mean()
        for learned in (without, with_it)
    ]
    assert scores[1] > scores[0] + 0.1
    # Learned anew from training and validation pictures; the test pictures have no part in it.
    changed = Features(np.where((part == "test")[:, None], -features.raw, features.raw))
    other = learn(changed, truth, part, ("a", "b", "c", "d"), "multi_class", asked)
    np.testing.assert_array_equal(other.adapted.projection.matrix, with_it.adapted.projection.matrix)
