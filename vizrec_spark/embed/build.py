"""Make the encoder that a spec names into one self-contained file, once, on the driver."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

from vizrec_spark.embed import lite0
from vizrec_spark.embed.applications import application_model
from vizrec_spark.embed.cut import cut_model
from vizrec_spark.embed.encoder import EncoderSpec, file_sha256, require_sha256
from vizrec_spark.embed.fingerprint import encoder_id, slug
from vizrec_spark.embed.onnx_graph import compose_onnx, model_digest, weight_files
from vizrec_spark.embed.preprocessing import Preprocessing, application_preprocessing, as_layer, named
from vizrec_spark.embed.weights import first_line, load_weights
from vizrec_spark.errors import EncoderError
from vizrec_spark.kernels.keras_import import import_keras

# Raise it when the same spec shall give another file.
_FILE_VERSION = 1


@dataclass(frozen=True)
class BuiltEncoder:
    """An encoder as a file: RGB of 0..255 (batch, *input_size, 3) to float32 (batch, dimension).

    A ``.keras`` file takes the pixels as float32, an ``.onnx`` file as uint8. `encoder_id` is that of float32.
    """

    encoder_id: str
    path: Path
    input_size: tuple[int, int]
    dimension: int


def build_encoder(spec: EncoderSpec, cache_dir: Path) -> BuiltEncoder:
    """The encoder of `spec` as ``<cache_dir>/<encoder_id>.keras`` (or ``.onnx``), preprocessing and cut included.

    The ``.keras`` file loads in Keras' safe mode without this package. What was built before is taken from the cache
    without importing TensorFlow; the cache may be shared by processes.
    A file whose hash is not the one that `spec` asks for is not loaded.
    Raises: EncoderError; WeightsUnavailable.
    """
    require_sha256(spec)
    stamp = cache_dir / "stamps" / f"{_spec_key(spec)}.json"
    if (known := _read_stamp(stamp, cache_dir)) is not None:
        return known
    built = _build(spec, cache_dir)
    facts = {
        "encoder_id": built.encoder_id,
        "file": built.path.name,
        "bytes": built.path.stat().st_size,
        "input_size": list(built.input_size),
        "dimension": built.dimension,
        "source": spec.source,
    }
    stamp.parent.mkdir(parents=True, exist_ok=True)
    scratch = stamp.with_name(f".{uuid4().hex}.tmp")
    scratch.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    scratch.replace(stamp)
    return built


def compose(features: Any, preprocessing: Preprocessing) -> Any:
    """`features` behind its preprocessing, as one model on 0..255 RGB with float32 vectors out."""
    keras = import_keras()
    _, height, width, _ = features.input_shape
    inputs = keras.Input((height, width, 3), dtype="float32", name="rgb")
    scaling = as_layer(preprocessing)
    outputs = features(scaling(inputs) if scaling is not None else inputs)
    if outputs.dtype != "float32":
        outputs = keras.layers.Activation("linear", dtype="float32", name="as_float32")(outputs)
    return keras.Model(inputs, outputs, name="encoder")


def _build(spec: EncoderSpec, cache_dir: Path) -> BuiltEncoder:
    if spec.kind == "onnx":
        return _build_onnx(spec, cache_dir)
    features, preprocessing, prefix = _features(spec)
    model = compose(features, preprocessing)
    height, width = (int(n) for n in model.input_shape[1:3])
    name = encoder_id(prefix, model, preprocessing, (height, width))
    path = cache_dir / f"{name}.keras"
    cache_dir.mkdir(parents=True, exist_ok=True)
    # Keras picks the format by the ending, so the scratch file keeps it.
    scratch = cache_dir / f".{name}.{uuid4().hex}.keras"
    try:
        model.save(scratch)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    return BuiltEncoder(name, path, (height, width), int(model.output_shape[-1]))


def _build_onnx(spec: EncoderSpec, cache_dir: Path) -> BuiltEncoder:
    path, chosen = spec.weights_file, spec.preprocessing
    assert path is not None  # EncoderSpec has checked that it is there
    rule = chosen if isinstance(chosen, Preprocessing) else named(chosen)
    model, size, dimension = compose_onnx(path, rule, spec.layer, spec.input_size)
    name = f"{slug(path.stem)}-{model_digest(model)[:12]}"
    built = cache_dir / f"{name}.onnx"
    cache_dir.mkdir(parents=True, exist_ok=True)
    scratch = cache_dir / f".{uuid4().hex}.tmp"
    try:
        scratch.write_bytes(model.SerializeToString(deterministic=True))
        scratch.replace(built)
    finally:
        scratch.unlink(missing_ok=True)
    return BuiltEncoder(name, built, size, dimension)


def _features(spec: EncoderSpec) -> tuple[Any, Preprocessing, str]:
    """The headless model on scaled input, its preprocessing, and the readable start of its id."""
    chosen = spec.preprocessing if isinstance(spec.preprocessing, Preprocessing) else None
    if chosen is None and spec.preprocessing != "auto":
        chosen = named(str(spec.preprocessing))
    match spec.kind:
        case "application":
            model = application_model(spec)
            chosen = chosen or application_preprocessing(spec.application, spec.options)
            return model, chosen, spec.application
        case "lite0":
            model = lite0.lite0_model(input_size=spec.input_size)
            return cut_model(model, spec.layer), chosen or lite0.PREPROCESSING, "efficientnet_lite0"
        case _:
            assert chosen is not None  # EncoderSpec asks for it
            return _file_features(spec), chosen, Path(spec.source).stem


def _file_features(spec: EncoderSpec) -> Any:
    keras = import_keras()
    path = spec.weights_file
    assert path is not None  # EncoderSpec has checked that it is there
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about layers of older files that hold no weights
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
        load_weights(model, path)
    except Exception as error:
        raise EncoderError(
            f"{path} cannot be loaded as a Keras file without running code from it: {first_line(error)}"
        ) from None
    features = cut_model(model, spec.layer)
    shape = features.input_shape
    if len(shape) != 4 or shape[-1] != 3:
        raise EncoderError(f"{spec.source} takes {shape}; an encoder takes (batch, height, width, 3).")
    size = spec.input_size or shape[1:3]
    if None in size:
        raise EncoderError(f"{spec.source} takes any size; set embed.input_size, e.g. [224, 224].")
    if any(own not in (None, asked) for own, asked in zip(shape[1:3], size, strict=True)):
        raise EncoderError(f"{spec.source} takes pictures of {shape[1:3]}, embed.input_size is {size}.")
    if None in shape[1:3]:
        inputs = keras.Input((*size, 3), name="scaled_rgb")
        return keras.Model(inputs, features(inputs), name=features.name)
    return features


def _spec_key(spec: EncoderSpec) -> str:
    """A hash of everything that decides what is built, the contents of weights files included."""
    if not isinstance(spec.preprocessing, Preprocessing) and spec.preprocessing != "auto":
        named(spec.preprocessing)
    source = lite0.packaged_checkpoint() if spec.kind == "lite0" else spec.weights_file
    facts = {
        "file_version": _FILE_VERSION,
        "keras": version("keras"),
        # A file is known by what it holds; its name is only the readable part of the id.
        "source": spec.source if spec.kind not in ("file", "onnx") else Path(spec.source).stem,
        "weights": "file" if source else spec.weights or "imagenet",
        "weights_sha256": file_sha256(source) if source else None,
        "layer": spec.layer,
        "input_size": spec.input_size,
        "preprocessing": spec.preprocessing.to_dict()
        if isinstance(spec.preprocessing, Preprocessing)
        else spec.preprocessing,
        "options": dict(spec.options),
    }
    if spec.kind == "onnx":
        assert source is not None  # EncoderSpec has checked that it is there
        facts["format"] = "onnx"
        beside = weight_files(source)
        if beside and spec.sha256 is not None:
            raise EncoderError(
                f"embed.sha256 names one file, and {source} has weights in others, {beside[0].name} for one: save "
                "it as one file, or leave embed.sha256 out."
            )
        facts["weight_files"] = [(file.name, file_sha256(file)) for file in beside]
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _read_stamp(stamp: Path, cache_dir: Path) -> BuiltEncoder | None:
    """What the stamp stands for, or None when it or its file is missing or was cut short."""
    try:
        facts = json.loads(stamp.read_text(encoding="utf-8"))
        path = cache_dir / facts.get("file", f"{facts['encoder_id']}.keras")
        if path.stat().st_size != facts["bytes"]:
            return None
        height, width = facts["input_size"]
        return BuiltEncoder(facts["encoder_id"], path, (height, width), facts["dimension"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
