"""Fine-tuning: what a block is, what learns and what does not, and a training that is killed and goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fine_tuning import SETTINGS, encoder_file, features, learn, lesson, patterned
from vizrec_spark.adapt.fine_tune.augment import augmentation
from vizrec_spark.adapt.fine_tune.blocks import blocks_of, free, train_last
from vizrec_spark.adapt.fine_tune.precision import of_gpu
from vizrec_spark.adapt.fine_tune.resume import Standing
from vizrec_spark.adapt.fine_tune.train import FineTuned, fine_tune
from vizrec_spark.adapt.network import label_weights
from vizrec_spark.config.models import AugmentConfig
from vizrec_spark.errors import EncoderError
from vizrec_spark.kernels.keras_import import import_keras

NO_AUGMENTATION = AugmentConfig(flip=False, rotate=0.0, shift=0.0, zoom=0.0, brightness=0.0, contrast=0.0)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoder_file(tmp_path_factory.mktemp("tuned") / "tiny.keras")


@pytest.fixture(scope="module")
def tuned(source: Path, tmp_path_factory: pytest.TempPathFactory) -> FineTuned:
    """A training that nothing stops."""
    return learn(source, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    ("name", "options", "count", "last"),
    [
        ("ResNet50", {}, 17, ["conv5_block1", "conv5_block2", "conv5_block3"]),
        ("MobileNet", {"alpha": 0.25}, 14, ["11", "12", "13"]),
        ("MobileNetV2", {"alpha": 0.35}, 18, ["block_14", "block_15", "block_16"]),
        ("MobileNetV3Small", {"minimalistic": True}, 12, ["expanded_conv_8", "expanded_conv_9", "expanded_conv_10"]),
        ("EfficientNetB0", {}, 17, ["block6c", "block6d", "block7a"]),
        ("VGG16", {}, 5, ["block3", "block4", "block5"]),
    ],
)  # fmt: skip
def test_blocks_of_applications_are_told_by_name(
    name: str, options: dict[str, Any], count: int, last: list[str]
) -> None:
    make = getattr(import_keras().applications, name)
    model = make(weights=None, include_top=False, input_shape=(64, 64, 3), pooling="avg", **options)
    blocks = blocks_of(model)
    assert (len(blocks), [block.name for block in blocks[-3:]]) == (count, last)
    held = [layer.name for block in blocks for layer in block.layers]
    # Every layer with weights is in one block; the stem has those before the first, a tail belongs to the last.
    assert sorted(held) == sorted(layer.name for layer in model.layers if layer.weights)
    assert blocks[0].name in ("stem", "block1")


def test_without_names_a_block_is_a_layer_with_weights_and_its_normalisation() -> None:
    keras = import_keras()
    layers = keras.layers
    inner = keras.Sequential(
        [keras.Input((8, 8, 4)), layers.Conv2D(4, 1, name="c"), layers.LayerNormalization(name="n")]
    )
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(3, 1, name="preprocessing", trainable=False),
            layers.Conv2D(4, 1, name="a"),
            layers.BatchNormalization(name="b"),
            layers.ReLU(),
            inner,
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, name="d"),
        ]
    )  # fmt: skip
    assert [[layer.name for layer in block.layers] for block in blocks_of(model)] == [
        ["a", "b"],
        ["c", "n"],
        ["d"],
    ]
    assert [block.name for block in train_last(model, 2, batch_norm=False)] == ["c", "d"]
    assert {w.path.split("/")[-2] for w in model.trainable_variables} == {"c", "n", "d"}
    train_last(model, 3, batch_norm=False)
    assert "b" not in {w.path.split("/")[-2] for w in model.trainable_variables}
    free(model)
    assert {w.path.split("/")[-2] for w in model.trainable_variables} == {"a", "b", "c", "n", "d"}
    with pytest.raises(EncoderError, match=r"adapt\.fine_tune\.blocks = 4, and the encoder has 3: a, c, d"):
        train_last(model, 4, batch_norm=False)


def test_a_block_of_frozen_normalisation_alone_has_nothing_to_learn() -> None:
    keras = import_keras()
    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    with pytest.raises(EncoderError, match="nothing to learn but batch normalisation"):
        train_last(model, 1, batch_norm=False)
    assert train_last(model, 1, batch_norm=True)


def test_the_last_blocks_learn_and_all_else_stays(source: Path, tuned: FineTuned) -> None:
    assert tuned.blocks == ("block2", "block3") and tuned.after < tuned.before
    load = import_keras().saving.load_model
    before, after = (load(path, compile=False, safe_mode=True) for path in (source, tuned.path))
    moved = {
        w.path
        for w, new in zip(before.weights, after.weights, strict=True)
        if not np.array_equal(w.numpy(), new.numpy())
    }
    assert moved == {
        "block2_conv/kernel",
        "block3_conv/kernel",
    }  # no normalisation, and none of its statistics
    assert all(layer.dtype_policy.name == "float32" for layer in after._flatten_layers(include_self=False))
    assert after.output_shape == (None, 8)


def test_a_killed_training_goes_on_as_if_nothing_had_happened(
    source: Path, tuned: FineTuned, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    command = [sys.executable, "-m", "tests.fine_tuning", str(source), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == "in the middle\n"
        finally:
            child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    caplog.set_level("INFO", logger="vizrec")
    again = learn(source, tmp_path)
    told = [record.getMessage() for record in caplog.records]
    assert any("going on after epoch 2" in line for line in told)
    assert [line.split(",")[0] for line in told if line.startswith("adapt: epoch")] == [
        "adapt: epoch 3 of 4",
        "adapt: epoch 4 of 4",
    ]
    assert (again.epochs, again.before, again.after) == (tuned.epochs, tuned.before, tuned.after)
    load = import_keras().saving.load_model
    for mine, theirs in zip(load(again.path).get_weights(), load(tuned.path).get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    # What has come to its end is not trained again.
    caplog.clear()
    assert learn(source, tmp_path).epochs == tuned.epochs
    assert not [r for r in caplog.records if r.getMessage().startswith("adapt: epoch")]


def test_several_labels_in_bfloat16_with_normalisation_that_learns(source: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(
        update={
            "augment": NO_AUGMENTATION,
            "batch_norm": True,
            "blocks": 1,
            "class_weights": True,
            "dropout": 0.0,
            "precision": "bfloat16",
            "warmup": 0.0,
        }
    )
    found = fine_tune(source, lesson(source, "multi_label"), settings, 3, tmp_path)
    assert found.path is not None and found.precision == "bfloat16"
    load = import_keras().saving.load_model
    before, after = (load(path, compile=False) for path in (source, found.path))
    same = {w.path: np.array_equal(w, new) for w, new in zip(before.weights, after.weights, strict=True)}
    assert not same["block3_bn/moving_mean"] and not same["block3_bn/gamma"] and same["block2_bn/moving_mean"]
    assert {w.dtype for w in after.weights} == {"float32"}
    assert all(layer.compute_dtype == "float32" for layer in after._flatten_layers(include_self=False))


def test_where_nothing_is_gained_the_encoder_stays(source: Path, tmp_path: Path) -> None:
    hopeless = SETTINGS.model_copy(update={"learning_rate": 1e3, "epochs": 2, "patience": 1, "warmup": 0.0})
    found = fine_tune(source, lesson(source), hopeless, 7, tmp_path)
    assert (found.path, found.epochs, found.after) == (None, 0, found.before)


def test_a_file_that_is_no_encoder_is_told(tmp_path: Path, source: Path) -> None:
    (tmp_path / "other.keras").write_bytes(b"no archive")
    with pytest.raises(EncoderError, match="cannot be loaded"):
        fine_tune(tmp_path / "other.keras", lesson(source), SETTINGS, 7, tmp_path / "c")


def test_pictures_are_changed_in_training_alone_and_stay_pictures() -> None:
    pixels = np.stack([patterned(n) for n in range(4)]).astype(np.float32)
    layers = augmentation(AugmentConfig(), 5)
    assert len(layers) == 6
    plain, changed = pixels, pixels
    for layer in layers:
        plain, changed = layer(plain, training=False), layer(changed, training=True)
    np.testing.assert_array_equal(plain, pixels)
    changed = np.asarray(changed)
    assert changed.shape == pixels.shape and changed.min() >= 0 and changed.max() <= 255
    assert np.abs(changed - pixels).mean() > 5
    assert augmentation(NO_AUGMENTATION, 5) == []


def test_the_standing_is_that_of_all_epochs() -> None:
    assert Standing.of(1.0, []) == Standing(1.0, 0, 0)
    assert Standing.of(1.0, [1.2, 0.9, 0.95, float("nan")]) == Standing(0.9, 2, 2)
    assert Standing.of(1.0, [1.0, 1.0]) == Standing(1.0, 0, 2)


def test_sixteen_bits_where_the_gpu_has_units_for_them() -> None:
    found = [of_gpu({"compute_capability": c}) for c in ((9, 0), (8, 0), (7, 5), (6, 1), None)]
    assert found == ["bfloat16", "bfloat16", "float16", "float32", "float32"]


def test_labels_of_few_pictures_weigh_more_where_that_is_asked_for() -> None:
    truth = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], bool)
    assert label_weights(truth, even=False).tolist() == [1, 1, 1, 1]
    even = label_weights(truth, even=True)
    assert even[:3].sum() == pytest.approx(even[3]) and even.mean() == pytest.approx(1)


def test_the_tiny_encoder_has_its_blocks_under_the_scaling(source: Path) -> None:
    whole = import_keras().saving.load_model(source, compile=False)
    assert (
        [b.name for b in blocks_of(whole)]
        == [b.name for b in blocks_of(features())]
        == ["block1", "block2", "block3"]
    )
