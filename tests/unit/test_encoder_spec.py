"""What can be asked for as an encoder, and what is refused before TensorFlow is imported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vizrec_spark.embed.encoder import EncoderSpec
from vizrec_spark.embed.fingerprint import canonical_config, slug
from vizrec_spark.embed.preprocessing import NAMED, affine, named
from vizrec_spark.errors import EncoderError


def test_the_default_is_resnet50_with_imagenet_weights() -> None:
    spec = EncoderSpec()
    assert (spec.kind, spec.application, spec.weights_file, spec.seed) == (
        "application",
        "ResNet50",
        None,
        None,
    )


def test_kinds(tmp_path: Path) -> None:
    weights = tmp_path / "w.weights.h5"
    weights.write_bytes(b"x")
    model = tmp_path / "m.keras"
    model.write_bytes(b"x")
    assert EncoderSpec("keras.applications:MobileNet", weights=str(weights)).weights_file == weights
    assert EncoderSpec("keras.applications:MobileNet", weights="random:7").seed == 7
    assert EncoderSpec(str(model), preprocessing="tf").weights_file == model
    assert EncoderSpec("efficientnet_lite0").kind == "lite0"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"source": "resnet50"}, "keras.applications:<Name>"),
        ({"options": {"pooling": "max", "alpha": 0.5}}, "may not set pooling: "),
        ({"source": "keras.applications:"}, "keras.applications:<Name>"),
        ({"weights": "imagnet"}, "imagenet, <path>.h5, random:<seed>"),
        ({"weights": "random:-1"}, "random:<seed>"),
        ({"layer": "avg_pool"}, "embed.layer"),
        ({"source": "efficientnet_lite0", "weights": "imagenet"}, "embed.weights"),
        ({"source": "efficientnet_lite0", "options": {"alpha": 1}}, "embed.options"),
        ({"source": "model.keras"}, "no such file"),
        (
            {"source": "/nowhere/net.onnx"},
            r"embed\.encoder names the file /nowhere/net\.onnx, but .* no such file",
        ),
        ({"input_size": (0, 224)}, "embed.input_size"),
        ({"sha256": "0" * 64}, "embed.sha256 names the content of a file, and .*ResNet50 is read from none"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(EncoderError, match=words):
        EncoderSpec(**arguments)  # type: ignore[arg-type]


def test_a_file_does_not_say_how_its_input_is_scaled(tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_bytes(b"x")
    with pytest.raises(EncoderError, match=r"set embed\.preprocessing"):
        EncoderSpec(str(tmp_path / "m.keras"))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(EncoderError, match=r"embed\.weights names the file /nowhere/w\.h5"):
        _ = EncoderSpec(weights="/nowhere/w.h5").weights_file


def test_affine_preprocessing() -> None:
    rule = affine(127.0, 128.0)
    assert rule.apply([[127, 255, 0]]).tolist() == [[0.0, 1.0, -127 / 128]]
    assert affine([1, 2, 3], 1, "bgr").apply([[10, 20, 30]]).tolist() == [[29.0, 18.0, 7.0]]
    assert rule.apply(np.zeros((2, 3), dtype=np.uint8)).dtype == np.float32
    with pytest.raises(EncoderError, match="one number or three"):
        affine([1, 2], 1)
    with pytest.raises(EncoderError, match="positive scales"):
        affine(0, 0)
    with pytest.raises(EncoderError, match="identity, tf, torch, caffe"):
        named("imagenet")
    assert set(NAMED) == {"identity", "tf", "torch", "caffe"}


def test_slugs_are_safe_file_names() -> None:
    assert slug("ResNet50") == "resnet50"
    assert slug("../My Model-v2") == "my_model_v2"
    assert slug("///") == "encoder"


def test_canonical_config_knows_a_graph_by_its_shape_and_not_by_its_names() -> None:
    def graph(first: str, second: str, units: int, seed: int) -> dict[str, object]:
        layers = [
            {"class_name": "InputLayer", "config": {"name": first}, "inbound_nodes": []},
            {
                "class_name": "Dense",
                "config": {"name": second, "units": units, "kernel_initializer": {"seed": seed}},
                "inbound_nodes": [{"args": [{"config": {"keras_history": (first, 0, 0)}}]}],
            },
        ]
        return {"name": f"functional_{seed}", "layers": layers, "output_layers": [[second, 0, 0]]}

    one = canonical_config(graph("input", "dense", 4, 1))
    assert one == canonical_config(graph("input_9", "dense_7", 4, 2))
    assert one != canonical_config(graph("input", "dense", 5, 1))
    crossed = graph("input", "dense", 4, 1)
    crossed["output_layers"] = [["input", 0, 0]]
    assert one != canonical_config(crossed)
