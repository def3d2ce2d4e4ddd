"""What was learned as arrays: it runs as Keras would run it, comes back as it was saved, and can hold no code."""

from __future__ import annotations

import contextlib
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizrec_spark.adapt.choose import _calibrated, learn, log_loss
from vizrec_spark.adapt.discriminant import Discriminants
from vizrec_spark.adapt.judging.retrieval import neighbour_precision
from vizrec_spark.adapt.kernel_machine import KernelSums
from vizrec_spark.adapt.moments import moments_of
from vizrec_spark.adapt.network import Examples, _head, _model, train
from vizrec_spark.adapt.predict import predicted
from vizrec_spark.adapt.spool import Features
from vizrec_spark.config.models import AdaptConfig, HeadConfig, ProjectionConfig
from vizrec_spark.errors import EncoderError
from vizrec_spark.kernels.adapted import (
    Adapted,
    Dense,
    Head,
    Kind,
    Projection,
    adapted_id,
    from_bytes,
    probabilities_of,
    summed_logits,
    to_bytes,
    unit_roots,
)
from vizrec_spark.kernels.adapted import given as labels_given
from vizrec_spark.kernels.keras_import import import_keras

SMALL = HeadConfig(layers=(16,), members=2, epochs=8, patience=4, batch_size=32, learning_rate=0.02)
CONFIG = AdaptConfig(
    head=SMALL, projection=ProjectionConfig(shrinkage=(0.3, 0.9), keep=(0.0, 0.2), labels=(0.0, 1.0)), k=5
)


def drawn(n: int, classes: int, seed: int = 0, d: int = 24) -> tuple[Features, np.ndarray]:
    """Features like pooled activations, with some directions that tell labels apart under louder ones that do not."""
    random = np.random.default_rng(seed)
    label = np.arange(n) % classes
    signal = np.random.default_rng(99).normal(size=(classes, d))[label] * 0.35
    noise = random.normal(size=(n, 4)) @ np.random.default_rng(98).normal(size=(4, d))
    values = np.logaddexp(0, signal + noise + 0.2 * random.normal(size=(n, d)))
    return Features(values.astype(np.float32)), np.eye(classes, dtype=bool)[label]


def small(kind: str = "multi_class") -> Adapted:
    random = np.random.default_rng(1)

    def layer(*shape: int) -> Dense:
        return Dense(
            random.normal(size=shape).astype(np.float32), random.normal(size=shape[1]).astype(np.float32)
        )

    projection = Projection(np.zeros(4, np.float32), random.normal(size=(4, 2)).astype(np.float32), 0.5)
    members = (Head((layer(4, 3), layer(3, 3)), "gelu"), Head((layer(4, 3),), "relu"))
    return Adapted(kind, ("a", "b", "c"), members, 1.5, projection)  # type: ignore[arg-type]


def test_it_comes_back_as_it_was_saved() -> None:
    before = small()
    content = to_bytes(before)
    assert content == to_bytes(before)
    after = from_bytes(content)
    x = np.random.default_rng(0).random((5, 4)).astype(np.float32)
    for one, two in zip(before.apply(x), after.apply(x), strict=True):
        assert np.array_equal(one, two)
    assert (after.dimension, after.inputs) == (5, 4)
    assert adapted_id("e1", "shop", "0") != adapted_id("e2", "shop", "0")
    with pytest.raises(EncoderError, match="takes vectors of 4 numbers"):
        after.apply(np.zeros((2, 3), np.float32))


class _Runs:
    """Would make a file where it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.place,)


def test_a_file_from_an_unknown_place_runs_nothing(tmp_path: Path) -> None:
    place = tmp_path / "ran"
    with np.load(io.BytesIO(to_bytes(small()))) as archive:
        arrays = dict(archive)
    arrays["matrix"] = np.array([_Runs(place)], dtype=object)
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    with pytest.raises(EncoderError, match="was not read"):
        from_bytes(stream.getvalue())
    with pytest.raises(EncoderError, match="was not read"):
        from_bytes(pickle.dumps(_Runs(place)))
    assert not place.exists()
    pickle.loads(pickle.dumps(_Runs(place)))  # it would have
    assert place.exists()


def test_wrong_shapes_numbers_and_hashes_are_refused() -> None:
    content = to_bytes(small())
    with pytest.raises(EncoderError, match="not those that were registered"):
        from_bytes(content, "0" * 64)
    with np.load(io.BytesIO(content)) as archive:
        arrays = dict(archive)
    for name, value in (
        ("kernel_0_1", np.zeros((2, 3), np.float32)),
        ("mean", np.full(4, np.nan, np.float32)),
        ("bias_1_0", np.zeros(3)),
    ):
        stream = io.BytesIO()
        np.savez(stream, **{**arrays, name: value})
        with pytest.raises(EncoderError, match="was not read"):
            from_bytes(stream.getvalue())


@given(
    st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 1500),
)
def test_a_damaged_file_is_refused_or_read_and_nothing_else(damage: list[tuple[int, int]], end: int) -> None:
    content = bytearray(to_bytes(small()))
    for at, value in damage:
        content[at % len(content)] = value
    for broken in (bytes(content), bytes(content[:end])):
        with contextlib.suppress(EncoderError):
            assert from_bytes(broken).classes


def test_a_header_that_claims_more_than_there_is_is_refused() -> None:
    content = to_bytes(small())
    for claim in (b"(9999999999999,), }", b"(4, 9), }"):
        stream = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(stream, "w") as after:
            for name in before.namelist():
                entry = before.read(name)
                if name == "mean.npy":
                    entry = entry.replace(b"(4,), }".ljust(30), claim.ljust(30))
                    assert claim in entry
                after.writestr(name, entry)
        with pytest.raises(EncoderError, match="was not read: cannot reshape"):
            from_bytes(stream.getvalue())


def test_labels_that_a_picture_gets() -> None:
    p = np.array([[0.4, 0.4, 0.2], [0.1, 0.5, 0.9]], np.float32)
    assert labels_given(p, "multi_class").tolist() == [[True, False, False], [False, False, True]]
    assert labels_given(p, "multi_label").tolist() == [[False, False, False], [False, True, True]]
    logits = np.array([[1000.0, 0.0, -1000.0]], np.float32)
    assert probabilities_of(logits, "multi_class", 1.0).tolist() == [[1.0, 0.0, 0.0]]
    assert probabilities_of(logits, "multi_label", 1.0).tolist() == [[1.0, 0.5, 0.0]]


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh"])
def test_the_arrays_compute_what_keras_computes(activation: str) -> None:
    features, truth = drawn(30, 3)
    config = HeadConfig(layers=(8, 6), activation=activation, members=2)  # type: ignore[arg-type]
    import_keras().utils.set_random_seed(3)
    model = _model(import_keras(), Examples(features, np.arange(30), truth, "multi_class"), config)
    centre, scale = np.full(features.dimension, 0.3, np.float32), 0.7
    members = tuple(_head(model, m, config, centre, scale) for m in range(2))
    x = features.rows(np.arange(30))
    theirs = np.asarray(model((x - centre) / scale, training=False)).mean(axis=1)
    assert summed_logits(members, x) == pytest.approx(theirs, abs=1e-5)


def test_discriminants_are_those_of_the_textbook() -> None:
    features, truth = drawn(240, 4)
    x = features.rows(np.arange(240)).astype(np.float64)
    label = truth.argmax(axis=1)
    means = np.stack([x[label == c].mean(axis=0) for c in range(4)])
    apart = x - means[label]
    within = apart.T @ apart / (240 - 4)
    shrunk = 0.7 * within + 0.3 * np.trace(within) / len(within) * np.eye(len(within))
    found = Discriminants.of(moments_of(features, np.arange(240), truth))
    solved = np.linalg.solve(shrunk, means.T)
    logits = x @ solved - 0.5 * (means.T * solved).sum(axis=0)
    (layer,) = found.classifier(0.3).layers
    mine = x @ layer.kernel + layer.bias
    assert mine - mine.mean(axis=1, keepdims=True) == pytest.approx(
        logits - logits.mean(axis=1, keepdims=True), abs=2e-2
    )
    directions = found.directions(0.3)
    assert directions.shape == (24, 3)
    assert directions.T @ shrunk @ directions == pytest.approx(np.eye(3), abs=1e-4)


def test_the_kernel_machine_is_kernel_ridge_regression() -> None:
    features, truth = drawn(60, 3)
    x = features.rows(np.arange(60)).astype(np.float64)
    moments = moments_of(features, np.arange(60), truth)
    apart = np.square(x[:, None] - x[None]).sum(axis=2)
    near = np.exp(-apart / apart.mean())
    solved = np.linalg.solve(near + 0.3 * np.eye(60), truth - 1 / 3)
    examples = Examples(features, np.arange(60), truth, "multi_class")
    found = summed_logits([KernelSums.of(examples, moments, 100, 0).machine(0.3)], x.astype(np.float32))
    assert found == pytest.approx(near @ solved, abs=2e-3)
    fewer = KernelSums.of(examples, moments, 20, 0).machine(0.3)
    assert fewer.layers[0].kernel.shape == (24, 20)
    assert (summed_logits([fewer], x.astype(np.float32)).argmax(axis=1) == truth.argmax(axis=1)).mean() > 0.7


def test_roots_have_one_length() -> None:
    x = np.array([[4.0, -9.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    found = unit_roots(x)
    assert np.square(found[0]).sum() == pytest.approx(3.0)
    assert found[0, 1] / found[0, 0] == pytest.approx(-1.5)
    assert found[1].tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", ["multi_class", "multi_label"])
def test_what_is_learned_beats_the_plain_features(kind: str) -> None:
    features, truth = drawn(360, 4)
    if kind == "multi_label":
        truth = truth @ np.array([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]], bool)
    part = np.array(["train", "validation", "test"])[np.digitize(np.arange(360) % 36, [20, 28])]
    # Several labels have the network alone, which needs some width and time.
    wider = {
        "layers": (64,),
        "epochs": 40,
        "patience": 40,
        "dropout": 0.2,
        "batch_size": 64,
        "learning_rate": 0.02,
    }
    head = SMALL.model_copy(update=wider if kind == "multi_label" else {})
    config = CONFIG.model_copy(update={"head": head})
    learned = learn(features, truth, part, ("a", "b", "c", "d"), kind, config)  # type: ignore[arg-type]
    rows = np.flatnonzero(part == "test")
    vectors, probabilities = predicted(learned.adapted, features, rows)
    right = (labels_given(probabilities, learned.adapted.kind) == truth[rows]).all(axis=1).mean()
    assert right > 0.8  # by chance 0.25
    before, after = (neighbour_precision(v, truth[rows], 5).mean() for v in (features.raw[rows], vectors))
    assert after > before + 0.15


@pytest.mark.parametrize("kind", ["multi_class", "multi_label"])
@pytest.mark.parametrize("scale", [0.01, 1.0, 300.0])
def test_the_temperature_is_the_best_of_many(kind: Kind, scale: float) -> None:
    random = np.random.default_rng(5)
    truth = np.eye(3, dtype=bool)[random.integers(0, 3, 80)]
    logits = (scale * (2 * truth - 1 + 2 * random.normal(size=(80, 3)))).astype(np.float32)
    temperature, loss = _calibrated(logits, truth, kind)
    tried = [log_loss(probabilities_of(logits, kind, t), truth, kind) for t in np.geomspace(1e-3, 1e3, 3000)]
    assert loss == pytest.approx(min(tried), abs=1e-5)
    assert temperature == pytest.approx(np.geomspace(1e-3, 1e3, 3000)[np.argmin(tried)], rel=0.02)
    perfect, loss = _calibrated((truth * scale).astype(np.float32), truth, "multi_class")
    assert perfect == pytest.approx(1e-3, rel=0.01) and loss < 1e-3  # no least one: it ends at the border


def test_the_test_pictures_are_not_looked_at() -> None:
    features, truth = drawn(120, 2)
    part = np.array(["train", "validation", "test"])[np.digitize(np.arange(120) % 12, [6, 9])]
    config = CONFIG.model_copy(update={"head": SMALL.model_copy(update={"epochs": 2})})
    one = learn(features, truth, part, ("a", "b"), "binary", config)
    changed = features.raw.copy()
    changed[part == "test"] = 7.0
    other = truth.copy()
    other[part == "test"] = ~other[part == "test"]
    two = learn(Features(changed), other, part, ("a", "b"), "binary", config)
    assert to_bytes(one.adapted) == to_bytes(two.adapted)


def test_class_weights_and_early_stopping() -> None:
    features, truth = drawn(90, 3)
    rows = np.arange(90)
    config = SMALL.model_copy(
        update={"class_weights": True, "epochs": 30, "patience": 1, "learning_rate": 1.0}
    )
    examples = Examples(features, rows[:60], truth, "multi_class")
    trained = train(examples, config, 0, validation=Examples(features, rows[60:], truth, "multi_class"))
    assert 1 <= trained.epochs < 30  # far too fast a rate: it gets worse soon
    assert len(trained.members) == 2
