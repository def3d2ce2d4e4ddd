"""Every runtime gives the features of Keras; what a precision changes is bounded."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vizrec_spark.embed.build import BuiltEncoder, build_encoder
from vizrec_spark.embed.choice import Machine
from vizrec_spark.embed.encoder import EncoderSpec, file_sha256
from vizrec_spark.embed.export import _export_openvino, export_encoder
from vizrec_spark.embed.preprocessing import NAMED
from vizrec_spark.embed.runtimes import Runtime, load_runtime
from vizrec_spark.embed.runtimes.base import BATCH_BYTES, cpu_batch
from vizrec_spark.embed.runtimes.tensorflow import gpu_batch
from vizrec_spark.errors import EncoderError
from vizrec_spark.imaging import load_rgb
from vizrec_spark.kernels.keras_import import import_keras

HERE = Machine.here()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> BuiltEncoder:
    spec = EncoderSpec(
        "keras.applications:MobileNet", weights="random:3", input_size=(48, 64), options={"alpha": 0.25}
    )
    return build_encoder(spec, tmp_path_factory.mktemp("encoders"))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    coarse = np.random.default_rng(2).integers(0, 256, (10, 6, 8, 3))
    return coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)


@pytest.fixture(scope="module")
def wanted(encoder: BuiltEncoder, pixels: np.ndarray) -> np.ndarray:
    model = import_keras().saving.load_model(encoder.path, compile=False)
    return np.asarray(model(pixels.astype(np.float32), training=False))


def encoded(runtime: Runtime, pixels: np.ndarray) -> np.ndarray:
    size = runtime.batch_size
    return np.concatenate([runtime.encode(pixels[i : i + size]) for i in range(0, len(pixels), size)])


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("name", ["tensorflow", "openvino"])
def test_float32_features_are_those_of_keras(
    name: Any, encoder: BuiltEncoder, pixels: np.ndarray, wanted: np.ndarray
) -> None:
    if name == "openvino":
        pytest.importorskip("openvino")
    path = export_encoder(encoder, name)
    runtime = load_runtime(name, path, precision="float32", batch_size=4, threads=1)
    assert (runtime.input_size, runtime.dimension, runtime.batch_size) == ((48, 64), 256, 4)
    got = encoded(runtime, pixels)  # 4 + 4 + 2: the last batch is padded
    assert got.dtype == np.float32 and got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4 * wanted.max())
    assert np.linalg.norm(wanted[0] - wanted[1]) > 0.01 * np.linalg.norm(wanted[0])


@pytest.mark.parametrize("name", ["tensorflow", "openvino"])
def test_bfloat16_features_are_close_and_not_the_same(
    name: Any, encoder: BuiltEncoder, pixels: np.ndarray, wanted: np.ndarray
) -> None:
    if not HERE.cpu_bfloat16 or (name == "openvino" and not HERE.openvino):
        pytest.skip("needs the package and a CPU that has bfloat16")
    path = export_encoder(encoder, name)
    got = encoded(load_runtime(name, path, precision="bfloat16", batch_size=10, threads=1), pixels)
    assert got.dtype == np.float32
    similar = cosines(got, wanted)
    assert np.median(similar) >= 0.999 and similar.min() >= 0.995
    assert np.abs(got - wanted).max() > 1e-5 * wanted.max()


def test_the_export_is_one_file_made_once(encoder: BuiltEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    path = export_encoder(encoder, "openvino")
    assert path == encoder.path.with_name(f"{encoder.encoder_id}.openvino.zip")
    monkeypatch.setattr(
        "vizrec_spark.embed.export._export_openvino", lambda *_: pytest.fail("exported again")
    )
    assert export_encoder(encoder, "openvino") == path
    assert export_encoder(encoder, "tensorflow") == encoder.path


def test_the_export_reports_to_nobody(
    encoder: BuiltEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO's own check says "declined" while Keras exports, as it is asked by the converter."""
    checker = pytest.importorskip("openvino_telemetry.utils.opt_in_checker")
    found = []

    def export(*_: object, **__: object) -> None:
        found.append(checker.OptInChecker().check(enable_opt_in_dialog=False, disable_in_ci=True))
        raise ValueError("no further")

    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(import_keras().Model, "export", export)
    with pytest.raises(EncoderError, match="no further"):
        _export_openvino(encoder.path, tmp_path / "quiet.openvino.zip")
    assert found == [checker.ConsentCheckResult.DECLINED]
    assert "CI" not in os.environ


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    for name, suffix in [("tensorflow", ".keras"), ("openvino", ".openvino.zip"), ("onnxruntime", ".onnx")]:
        if name != "tensorflow":
            pytest.importorskip(name)
        path = tmp_path / f"broken{suffix}"
        path.write_bytes(b"no model")
        with pytest.raises(EncoderError, match="broken"):
            load_runtime(name, path, precision="float32", batch_size=1, threads=1)  # type: ignore[arg-type]


def test_batches_are_bounded_by_bytes_and_memory(encoder: BuiltEncoder) -> None:
    assert cpu_batch(5, 16, (224, 224)) == 5
    assert cpu_batch(10_000, 16, (1000, 1000)) == BATCH_BYTES // 3_000_000
    assert cpu_batch(None, 16, (9000, 9000)) == 1
    assert cpu_batch(None, 16, (224, 224)) == 16
    model = import_keras().saving.load_model(encoder.path, compile=False)
    sizes = [gpu_batch(free, model) for free in (0, 1 << 20, 1 << 24, 1 << 27, 1 << 40)]
    assert sizes == sorted(sizes) and sizes[0] == 1 and sizes[-1] == 512
    assert all(n & (n - 1) == 0 for n in sizes)


@pytest.fixture
def onnx_model(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A convolution of stride 2, a ReLU and a classifier, channels first, any batch and size; and its kernel."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, pytest.importorskip("onnx.numpy_helper")
    kernel = np.random.default_rng(4).standard_normal((5, 3, 2, 2)).astype(np.float32)
    head = np.ones((5, 7), dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "kernel"], ["conv"], strides=[2, 2]),
            helper.make_node("Relu", ["conv"], ["features"]),
            helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "head"], ["scores"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", 1, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("scores", 1, ["n", 7])],
        [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(head, "head")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "My Net.onnx"
    onnx.save(model, str(path))
    return path, kernel


def convolved(pixels: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The mean over the picture of relu(conv), stride 2, in plain numpy."""
    x = NAMED["caffe"].apply(pixels).transpose(0, 3, 1, 2)
    patches = np.stack([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)], axis=2)
    out = np.einsum("nckhw,ock->nohw", patches, kernel.reshape(5, 3, 4))
    return np.maximum(out, 0).mean(axis=(2, 3))


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("layer", ["features", "flat"])
def test_an_onnx_file_is_scaled_cut_and_pooled(
    name: Any, layer: str, onnx_model: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    pytest.importorskip(name)
    path, kernel = onnx_model
    spec = EncoderSpec(str(path), layer=layer, input_size=(8, 12), preprocessing="caffe")
    built = build_encoder(spec, tmp_path / "cache")
    assert (built.input_size, built.dimension) == ((8, 12), 5)
    assert built.path.name == f"{built.encoder_id}.onnx" and built.encoder_id.startswith("my_net-")
    assert build_encoder(spec, tmp_path / "cache") == built
    pixels = np.random.default_rng(1).integers(0, 256, (5, 8, 12, 3), dtype=np.uint8)
    runtime = load_runtime(name, export_encoder(built, name), precision="float32", batch_size=3, threads=1)
    np.testing.assert_allclose(encoded(runtime, pixels), convolved(pixels, kernel), rtol=1e-4, atol=1e-2)


def test_the_id_of_an_onnx_encoder_says_what_is_computed(
    onnx_model: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    path, _ = onnx_model
    base = {"layer": "flat", "input_size": (8, 8), "preprocessing": "tf"}
    changes: list[dict[str, Any]] = [
        {},
        {"layer": "features"},
        {"layer": None},
        {"input_size": (8, 10)},
        {"preprocessing": "torch"},
    ]
    ids = {build_encoder(EncoderSpec(str(path), **{**base, **c}), tmp_path / "c").encoder_id for c in changes}
    assert len(ids) == len(changes)


@pytest.mark.parametrize("layer", ["last", "first", "odd", "baked"])
def test_the_order_of_a_feature_map_and_a_batch_that_is_built_in(
    layer: str, onnx_model: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    """`last` has its numbers behind height and width, `first` had; `odd` cannot be told, `baked` takes one picture."""
    onnx, name = pytest.importorskip("onnx"), "onnxruntime"
    pytest.importorskip(name)
    path, kernel = onnx_model
    model, node = onnx.load(str(path)), onnx.helper.make_node
    model.graph.node.extend(
        [
            node("Transpose", ["features"], ["turned"], perm=[0, 2, 3, 1]),
            node("Relu", ["turned"], ["last"]),
            node("Transpose", ["last"], ["first"], perm=[0, 3, 1, 2]),
            node("Transpose", ["last"], ["odd"], perm=[0, 2, 1, 3]),
            node("Reshape", ["flat", "one"], ["baked"]),
        ]
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 5]), "one"))
    path = tmp_path / "turned.onnx"
    onnx.save(model, str(path))
    spec = EncoderSpec(str(path), layer=layer, input_size=(8, 12), preprocessing="caffe")
    if layer in ("odd", "baked"):
        words = "cannot be told" if layer == "odd" else "is made for batches of 1"
        with pytest.raises(EncoderError, match=words):
            build_encoder(spec, tmp_path / "c")
        return
    built = build_encoder(spec, tmp_path / "c")
    assert built.dimension == 5
    pixels = np.random.default_rng(1).integers(0, 256, (5, 8, 12, 3), dtype=np.uint8)
    runtime = load_runtime(name, built.path, precision="float32", batch_size=3, threads=1)  # type: ignore[arg-type]
    np.testing.assert_allclose(encoded(runtime, pixels), convolved(pixels, kernel), rtol=1e-4, atol=1e-2)


def test_a_file_of_the_time_when_weights_were_inputs_too(
    onnx_model: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    """IR version 3 lists the initializers among the inputs."""
    import onnx

    model = onnx.load(str(onnx_model[0]))
    model.ir_version = 3
    for tensor in model.graph.initializer:
        described = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(described)
    path = tmp_path / "old.onnx"
    onnx.save(model, str(path))
    built = build_encoder(
        EncoderSpec(str(path), layer="flat", input_size=(8, 8), preprocessing="caffe"), tmp_path / "c"
    )
    runtime = load_runtime("onnxruntime", built.path, precision="float32", batch_size=2, threads=1)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    np.testing.assert_allclose(
        encoded(runtime, pixels), convolved(pixels, onnx_model[1]), rtol=1e-4, atol=1e-2
    )


def test_weights_in_a_file_beside_the_model_are_part_of_what_is_cached(
    onnx_model: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(onnx_model[0]))
    kernel, ids, graphs = onnx_model[1], [], []
    path = tmp_path / "beside" / "net.onnx"
    path.parent.mkdir()
    for factor in (1, 2):
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(factor * kernel, "kernel"))
        (path.parent / "weights.bin").unlink(missing_ok=True)
        onnx.save_model(
            onnx.ModelProto.FromString(model.SerializeToString()),
            str(path),
            save_as_external_data=True,
            location="weights.bin",
            size_threshold=0,
        )
        graphs.append(path.read_bytes())
        spec = EncoderSpec(str(path), layer="flat", input_size=(8, 8), preprocessing="tf")
        ids.append(build_encoder(spec, tmp_path / "c").encoder_id)
        assert build_encoder(spec, tmp_path / "c").encoder_id == ids[-1]
    assert graphs[0] == graphs[1]  # the graph alone does not tell
    assert ids[0] != ids[1]
    one_file = replace(spec, sha256=file_sha256(path))
    with pytest.raises(EncoderError, match=r"has weights in others, weights\.bin for one"):
        build_encoder(one_file, tmp_path / "cache")
    (path.parent / "weights.bin").unlink()
    with pytest.raises(EncoderError, match=r"keeps weights in weights\.bin, which is not beside it"):
        build_encoder(spec, tmp_path / "c")


@pytest.mark.parametrize("how", ["by going up", "by an absolute name", "by a link", "by a link to a folder"])
def test_weights_outside_the_folder_of_the_model_are_not_read(
    onnx_model: tuple[Path, np.ndarray], tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    outside, path = tmp_path / "secret.bin", tmp_path / "models" / "net.onnx"
    path.parent.mkdir()
    model = onnx.load(str(onnx_model[0]))
    onnx.save_model(model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    weights = path.with_name("weights.bin").replace(outside)
    name = {"by going up": f"../{outside.name}", "by an absolute name": str(weights)}.get(how, "inner/w.bin")
    if how == "by a link to a folder":
        outside.replace(tmp_path / "w.bin")
        path.with_name("inner").symlink_to(tmp_path)
    elif how == "by a link":
        path.with_name("inner").mkdir()
        path.with_name("inner").joinpath("w.bin").symlink_to(outside)
    named = onnx.load(str(path), load_external_data=False)
    for tensor in named.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = name
    path.write_bytes(named.SerializeToString())
    read: list[Path] = []
    monkeypatch.setattr("vizrec_spark.embed.build.file_sha256", lambda file: read.append(file) or "0" * 64)
    spec = EncoderSpec(str(path), layer="flat", input_size=(8, 8), preprocessing="tf")
    with pytest.raises(EncoderError, match="outside its own folder, which a model may not read"):
        build_encoder(spec, tmp_path / "c")
    assert [file.name for file in read] == ["net.onnx"]


def test_weights_below_the_folder_of_the_model_are_read(
    onnx_model: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    """Also where the folder itself is reached by a link."""
    import onnx

    (tmp_path / "real" / "parts").mkdir(parents=True)
    (tmp_path / "models").symlink_to(tmp_path / "real")
    path = tmp_path / "models" / "net.onnx"
    model = onnx.load(str(onnx_model[0]))
    onnx.save_model(model, str(path), save_as_external_data=True, location="parts/w.bin", size_threshold=0)
    spec = EncoderSpec(str(path), layer="flat", input_size=(8, 8), preprocessing="tf")
    assert build_encoder(spec, tmp_path / "c").dimension > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"preprocessing": "auto", "input_size": (8, 8)}, "does not say how its input is scaled"),
        ({}, r"takes any size; set embed\.input_size"),
        ({"input_size": (8, 8), "layer": "nothing"}, r"no tensor that .* computes; its last ones: .*scores"),
    ],
)
def test_an_onnx_file_that_needs_more_said(
    arguments: dict[str, Any], words: str, onnx_model: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    with pytest.raises(EncoderError, match=words):
        build_encoder(EncoderSpec(str(onnx_model[0]), **{"preprocessing": "tf", **arguments}), tmp_path / "c")


def test_an_onnx_file_that_is_none_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(EncoderError, match="cannot be read as an ONNX model"):
        build_encoder(EncoderSpec(str(path), preprocessing="tf"), tmp_path / "c")


def test_on_a_gpu_the_batch_comes_from_its_memory(
    encoder: BuiltEncoder, pixels: np.ndarray, wanted: np.ndarray
) -> None:
    import_keras()
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        pytest.skip("no GPU that TensorFlow sees")
    runtime = load_runtime("tensorflow", encoder.path, precision="bfloat16", batch_size=None, threads=1)
    assert runtime.batch_size > 16
    assert np.median(cosines(encoded(runtime, pixels), wanted)) >= 0.999


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_pictures_come_as_keras_loads_them(kind: str) -> None:
    coarse = Image.fromarray(np.random.default_rng(8).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    coarse.resize((400, 533), Image.Resampling.BICUBIC).save(buffer, kind)
    theirs = import_keras().utils.load_img(buffer, target_size=(224, 200), interpolation="bilinear")
    assert np.array_equal(load_rgb(buffer.getvalue(), (224, 200)), np.asarray(theirs))


def test_a_process_sees_only_the_gpu_that_spark_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyspark import TaskContext
    from pyspark.resource import ResourceInformation

    from vizrec_spark.embed.runtimes import tensorflow

    class Task:
        def resources(self) -> dict[str, ResourceInformation]:
            return {"gpu": ResourceInformation("gpu", [address])}

    address = "3"

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    monkeypatch.setattr(tensorflow, "_claimed", None)
    tensorflow._claim_gpu()  # not in a task: as the machine is set up
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"
    monkeypatch.setattr(TaskContext, "get", classmethod(lambda cls: Task()))
    tensorflow._claim_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    address = "1"
    tensorflow._claim_gpu()  # a later task of the same process
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_tensorflow_does_not_emulate_bfloat16(encoder: BuiltEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    monkeypatch.setattr("vizrec_spark.embed.choice.cpu_flags", lambda: frozenset({"avx2"}))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: [])
    with pytest.raises(EncoderError, match="no bfloat16 instructions"):
        load_runtime("tensorflow", encoder.path, precision="bfloat16", batch_size=1, threads=1)
