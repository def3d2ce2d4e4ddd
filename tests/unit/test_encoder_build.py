"""Encoders from every kind of source: right features, one file, one stable id."""

from __future__ import annotations

import hashlib
import importlib
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vizrec_spark.app.shelf import PlainShelf
from vizrec_spark.config import load_config
from vizrec_spark.embed import build
from vizrec_spark.embed.applications import application_model, check_encoder
from vizrec_spark.embed.build import BuiltEncoder, build_encoder
from vizrec_spark.embed.cut import cut_model
from vizrec_spark.embed.encoder import EncoderSpec
from vizrec_spark.embed.preprocessing import NAMED, affine, application_preprocessing, as_layer
from vizrec_spark.embed.resolve import published_runtime
from vizrec_spark.embed.stage import STAGE
from vizrec_spark.embed.weights import load_weights, randomise
from vizrec_spark.errors import EncoderError, WeightsUnavailable
from vizrec_spark.kernels.keras_import import import_keras

SMALL = "keras.applications:MobileNet"
SMALL_OPTIONS = {"alpha": 0.25}


def small(**changes: Any) -> EncoderSpec:
    arguments = {"source": SMALL, "weights": "random:1", "input_size": (32, 32), "options": SMALL_OPTIONS}
    return EncoderSpec(**{**arguments, **changes})


@pytest.fixture(scope="module")
def keras() -> Any:
    return import_keras()


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (3, 32, 32, 3)).astype(np.float32)


def features(keras: Any, built: BuiltEncoder, pixels: np.ndarray) -> np.ndarray:
    model = keras.saving.load_model(built.path, compile=False, safe_mode=True)
    return np.asarray(model(pixels, training=False))


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("ResNet50", "caffe"),
        ("VGG16", "caffe"),
        ("VGG19", "caffe"),
        ("ResNet50V2", "tf"),
        ("MobileNet", "tf"),
        ("MobileNetV2", "tf"),
        ("InceptionV3", "tf"),
        ("InceptionResNetV2", "tf"),
        ("NASNetMobile", "tf"),
        ("Xception", "tf"),
        ("DenseNet121", "torch"),
        ("EfficientNetB0", "identity"),
        ("EfficientNetV2S", "identity"),
        ("MobileNetV3Small", "identity"),
        ("ConvNeXtTiny", "identity"),
    ],
)
def test_preprocessing_is_the_models_own(keras: Any, pictures: np.ndarray, name: str, mode: str) -> None:
    rule = application_preprocessing(name)
    assert rule == NAMED[mode]
    module = importlib.import_module(getattr(keras.applications, name).__module__)
    wanted = np.asarray(module.preprocess_input(pictures.copy()))
    layer = as_layer(rule)
    got = np.asarray(layer(pictures)) if layer is not None else pictures
    np.testing.assert_allclose(got, wanted, atol=2e-4)


def test_switching_the_models_own_rescaling_off_needs_another(keras: Any) -> None:
    with pytest.raises(EncoderError, match=r"embed\.preprocessing"):
        application_preprocessing("ConvNeXtTiny", {"include_preprocessing": False})


def test_the_file_is_the_headless_model_behind_its_preprocessing(
    keras: Any, pictures: np.ndarray, tmp_path: Path
) -> None:
    built = build_encoder(small(), tmp_path)
    assert built.path == tmp_path / f"{built.encoder_id}.keras"
    assert built.encoder_id.startswith("mobilenet-")
    assert (built.input_size, built.dimension) == ((32, 32), 256)
    wanted = np.asarray(application_model(small())(pictures / 127.5 - 1.0, training=False))
    np.testing.assert_allclose(features(keras, built, pictures), wanted, rtol=1e-4, atol=1e-5)
    assert np.ptp(wanted, axis=0).max() > 0.1 * wanted.max()  # different pictures, different features
    assert sorted(p.name for p in tmp_path.iterdir()) == [built.path.name, "stamps"]


def test_the_id_says_what_is_computed(keras: Any, tmp_path: Path) -> None:
    one = build_encoder(small(), tmp_path / "a")
    keras.layers.Dense(3)  # shifts the numbers in Keras' automatic names
    assert build_encoder(small(), tmp_path / "b").encoder_id == one.encoder_id
    others = [
        small(weights="random:2"),
        small(input_size=(48, 48)),
        small(preprocessing="caffe"),
        small(preprocessing=affine(127.5, 127.0)),
        small(options={"alpha": 0.5}),
    ]
    ids = {build_encoder(spec, tmp_path / "a").encoder_id for spec in others}
    assert len(ids | {one.encoder_id}) == len(others) + 1


def test_another_process_gives_the_same_id_and_a_warm_cache_needs_no_tensorflow(tmp_path: Path) -> None:
    one = build_encoder(small(), tmp_path / "here")
    code = f"""
import sys
from pathlib import Path
from vizrec_spark.embed.build import build_encoder
from vizrec_spark.embed.encoder import EncoderSpec
spec = EncoderSpec({SMALL!r}, weights="random:1", input_size=(32, 32), options={SMALL_OPTIONS!r})
warm = build_encoder(spec, Path({str(tmp_path / "here")!r}))
assert "tensorflow" not in sys.modules and "keras" not in sys.modules
print(warm.encoder_id, build_encoder(spec, Path({str(tmp_path / "there")!r})).encoder_id)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [one.encoder_id] * 2


def test_what_the_cache_holds_is_not_built_again_unless_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = build_encoder(small(), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(build, "_build", lambda *_: pytest.fail("built again"))
        assert build_encoder(small(), tmp_path) == one
    size = one.path.stat().st_size
    one.path.write_bytes(b"cut short")
    assert build_encoder(small(), tmp_path) == one
    assert one.path.stat().st_size == pytest.approx(size, rel=0.01)


def test_weights_of_a_whole_classifier_lose_their_head(
    keras: Any, pictures: np.ndarray, tmp_path: Path
) -> None:
    whole = keras.applications.MobileNet(
        input_shape=(32, 32, 3), alpha=0.25, weights=None, include_top=True, classes=7
    )
    randomise(whole, 9)
    pooled = keras.Model(
        whole.input, keras.layers.GlobalAveragePooling2D()(whole.get_layer("conv_pw_13_relu").output)
    )
    wanted = np.asarray(pooled(pictures / 127.5 - 1.0, training=False))
    assert np.ptp(wanted, axis=0).max() > 0.1 * wanted.max()
    for name in ("whole.weights.h5", "whole.h5"):
        path = tmp_path / name
        if name.endswith(".weights.h5"):
            whole.save_weights(path)
        else:
            whole.save(path)
        built = build_encoder(
            small(weights=str(path), options={"alpha": 0.25, "classes": 7}), tmp_path / "cache"
        )
        found = features(keras, built, pictures)
        # float32 sums in another order: near-zero features have no relative precision of their own.
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * wanted.max())


def test_weights_that_do_not_fit_are_refused_in_one_sentence(keras: Any, tmp_path: Path) -> None:
    path = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save_weights(path)
    with pytest.raises(EncoderError, match=r"embed\.options"):
        build_encoder(small(weights=str(path)), tmp_path)


def test_a_file_that_lacks_a_layer_never_leaves_it_as_it_was(keras: Any, tmp_path: Path) -> None:
    path = tmp_path / "short.weights.h5"
    pool = keras.layers.GlobalAveragePooling2D()
    classifier(keras, pool).save_weights(path)
    longer = classifier(keras, pool, keras.layers.Dense(4, name="fc"))
    with pytest.raises(ValueError, match=r"[Dd]ense|fc"):
        load_weights(longer, path)
    same = classifier(keras, pool)
    load_weights(same, path)
    assert np.isfinite(same.get_weights()[0]).all()


def test_real_mobilenet_weights(keras: Any, shared_dir: Path, tmp_path: Path) -> None:
    path = shared_dir / "weights/mobilenet_0.75/mobilenet_v1_0.75_224_imagenet.weights.h5"
    whole = keras.applications.MobileNet(input_shape=(224, 224, 3), alpha=0.75, weights=str(path))
    pooled = keras.Model(whole.input, keras.layers.Flatten()(whole.get_layer("conv_preds").input))
    pixels = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3)).astype(np.float32)
    built = build_encoder(EncoderSpec(SMALL, weights=str(path), options={"alpha": 0.75}), tmp_path)
    assert (built.input_size, built.dimension) == ((224, 224), 768)
    wanted = np.asarray(pooled(pixels / 127.5 - 1.0, training=False))
    np.testing.assert_allclose(features(keras, built, pixels), wanted, rtol=1e-3, atol=1e-4)


def test_unknown_models_and_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"Did you mean ResNet50\?"):
        build_encoder(EncoderSpec("keras.applications:Resnet50"), tmp_path)
    with pytest.raises(EncoderError, match="aplha"):
        build_encoder(small(options={"aplha": 1.0}), tmp_path)


def test_weights_that_cannot_be_downloaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, keras: Any
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise Exception(
            "URL fetch failure on https://example.invalid/w.h5: None -- Name or service not known"
        )

    module = importlib.import_module(keras.applications.ResNet50.__module__)
    monkeypatch.setattr(module.file_utils, "get_file", unreachable)
    with pytest.raises(WeightsUnavailable) as refusal:
        build_encoder(EncoderSpec(input_size=(64, 64)), tmp_path)
    message = str(refusal.value)
    assert "\n" not in message
    for option in (
        "embed.weights=/path/",
        "embed.encoder=/path/to/model.keras",
        "embed.encoder=efficientnet_lite0",
    ):
        assert f"--set {option}" in message
    assert refusal.value.__suppress_context__


def classifier(keras: Any, *tail: Any, size: int | None = 32) -> Any:
    layers = [keras.Input((size, size, 3)), keras.layers.Conv2D(6, 3, name="conv"), *tail]
    return keras.Sequential(layers, name="net")


def test_the_cut_is_the_input_of_the_head(keras: Any) -> None:
    dense, pool = keras.layers.Dense, keras.layers.GlobalAveragePooling2D
    softmax_head = classifier(keras, pool(), dense(5, name="fc"), dense(3, activation="softmax"))
    assert cut_model(softmax_head, None).output_shape == (None, 5)
    split_head = classifier(keras, pool(), keras.layers.Dropout(0.5), dense(3), keras.layers.Softmax())
    assert cut_model(split_head, None).output_shape == (None, 6)
    spatial_head = classifier(
        keras,
        pool(keepdims=True),
        keras.layers.Conv2D(3, 1),
        keras.layers.Reshape((3,)),
        keras.layers.Activation("softmax"),
    )
    assert cut_model(spatial_head, None).output_shape == (None, 6)
    headless = classifier(keras, pool())
    assert cut_model(headless, None).output_shape == (None, 6)
    assert cut_model(softmax_head, "fc").output_shape == (None, 5)
    assert cut_model(softmax_head, "conv").output_shape == (None, 6)


def test_an_ambiguous_or_missing_layer_is_asked_for(keras: Any) -> None:
    projection = classifier(keras, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5, name="fc"))
    with pytest.raises(EncoderError, match=r"embed\.layer.*fc"):
        cut_model(projection, None)
    with pytest.raises(EncoderError, match=r"no layer of net.*conv"):
        cut_model(projection, "avg_pool")
    with pytest.raises(EncoderError, match=r"embed\.layer"):
        cut_model(classifier(keras), None)


def test_a_file_of_another_hash_than_the_one_asked_for_is_not_loaded(tmp_path: Path) -> None:
    weights = tmp_path / "w.weights.h5"
    weights.write_bytes(b"what loading it would fail on")
    expected = hashlib.sha256(weights.read_bytes()).hexdigest()
    spec = partial(EncoderSpec, "keras.applications:MobileNet", weights=str(weights))
    for refused in (check_encoder, partial(build_encoder, cache_dir=tmp_path / "cache")):
        with pytest.raises(EncoderError, match=f"has the SHA-256 {expected}, and embed.sha256 asks for 0000"):
            refused(spec(sha256="0" * 64))
    check_encoder(spec(sha256=expected))
    with pytest.raises(EncoderError, match="MobileNet"):  # it goes as far as loading it
        build_encoder(spec(sha256=expected), tmp_path / "cache")


def test_the_hash_stands_in_the_configuration_and_holds_wherever_an_encoder_is_made(tmp_path: Path) -> None:
    weights = tmp_path / "w.weights.h5"
    weights.write_bytes(b"of no use")
    pairs = [f"embed.weights={weights}", f"embed.sha256='{'1' * 64}'", f"embed.cache={tmp_path / 'cache'}"]
    config = load_config(None, pairs)
    assert STAGE.check is not None
    with pytest.raises(EncoderError, match=r"embed\.sha256 asks for 1111"):
        STAGE.check(config)
    with pytest.raises(EncoderError, match=r"embed\.sha256 asks for 1111"):
        published_runtime(config.embed, "resnet50-000000000000", 1, PlainShelf(config.tables))


def test_a_keras_file_of_any_size(keras: Any, pictures: np.ndarray, tmp_path: Path) -> None:
    pool = keras.layers.GlobalAveragePooling2D()
    model = classifier(keras, pool, keras.layers.Dense(4, activation="softmax"), size=None)
    path = tmp_path / "My Net.keras"
    model.save(path)
    with pytest.raises(EncoderError, match=r"embed\.input_size"):
        build_encoder(EncoderSpec(str(path), preprocessing="torch"), tmp_path)
    built = build_encoder(EncoderSpec(str(path), preprocessing="torch", input_size=(32, 32)), tmp_path)
    assert built.encoder_id.startswith("my_net-")
    wanted = np.asarray(cut_model(model, None)(NAMED["torch"].apply(pictures)))
    np.testing.assert_allclose(features(keras, built, pictures), wanted, rtol=1e-4, atol=1e-5)


def test_a_file_that_brings_code_is_refused(keras: Any, tmp_path: Path) -> None:
    path = tmp_path / "code.keras"
    classifier(keras, keras.layers.Lambda(lambda x: x + 1), keras.layers.GlobalAveragePooling2D()).save(path)
    with pytest.raises(EncoderError, match="without running code"):
        build_encoder(EncoderSpec(str(path), preprocessing="tf"), tmp_path)
