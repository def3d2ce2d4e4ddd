"""Models of ``keras.applications`` without their classification head, from any kind of weights."""

from __future__ import annotations

import ast
import difflib
import inspect
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vizrec_spark.embed.encoder import EncoderSpec, require_sha256
from vizrec_spark.embed.weights import first_line, load_weights, randomise
from vizrec_spark.errors import EncoderError, WeightsUnavailable
from vizrec_spark.kernels.keras_import import import_keras

_DOWNLOAD_STALL_S = 20.0


def check_encoder(spec: EncoderSpec) -> None:
    """Looks, without importing Keras, for what is wrong with an encoder.

    Raises: EncoderError for a model that Keras does not have, or a file that is not there or not the one asked for.
    """
    if spec.kind == "application":
        _require_known(spec.application, _names_in_keras())
    require_sha256(spec)


def application_model(spec: EncoderSpec) -> Any:
    """The headless float32 model that `spec` names: (batch, height, width, 3) to (batch, d), average-pooled.

    Raises: EncoderError for an unknown name, option or size, or weights that do not fit; WeightsUnavailable
    when ImageNet weights are not on this machine and cannot be downloaded.
    """
    constructor = _constructor(spec.application)
    height, width = spec.input_size or _own_size(constructor, spec)
    arguments = {**spec.options, "input_shape": (height, width, 3)}
    if spec.seed is not None:
        model = _construct(constructor, spec, weights=None, include_top=False, pooling="avg", **arguments)
        randomise(model, spec.seed)
        return model
    if spec.weights_file is None:
        with _impatient_downloads():
            return _construct(
                constructor, spec, weights="imagenet", include_top=False, pooling="avg", **arguments
            )
    return _from_file(constructor, spec, spec.weights_file, arguments)


def _constructor(name: str) -> Callable[..., Any]:
    applications = import_keras().applications
    _require_known(name, [n for n in dir(applications) if inspect.isfunction(getattr(applications, n))])
    constructor: Callable[..., Any] = getattr(applications, name)
    return constructor


def _names_in_keras() -> list[str]:
    """The models that Keras' list of exports names; importing it would take seconds and start TensorFlow."""
    keras = find_spec("keras")
    if keras is None or keras.origin is None:
        raise EncoderError("Keras is not installed: pip install vizrec-spark brings it.")
    exports = Path(keras.origin).with_name("applications") / "__init__.py"
    tree = ast.parse(exports.read_text(encoding="utf-8"))
    names = [
        name.asname or name.name
        for line in tree.body
        if isinstance(line, ast.ImportFrom)
        for name in line.names
    ]
    return [name for name in names if name[0].isupper()]


def _require_known(name: str, known: list[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise EncoderError(f"keras.applications has no model {name!r}.{hint} It has: {', '.join(known)}.")


def _construct(constructor: Callable[..., Any], spec: EncoderSpec, **arguments: Any) -> Any:
    try:
        return constructor(**arguments)
    except (TypeError, ValueError) as error:
        if arguments["weights"] == "imagenet" and "corrupted file" in str(error):
            raise _unavailable(spec, error) from None
        raise EncoderError(f"{spec.source} refuses {_shown(arguments)}: {first_line(error)}") from None
    except Exception as error:
        if arguments["weights"] != "imagenet":
            raise
        raise _unavailable(spec, error) from None


def _unavailable(spec: EncoderSpec, error: Exception) -> WeightsUnavailable:
    return WeightsUnavailable(
        f"the ImageNet weights of {spec.application} cannot be downloaded ({first_line(error)}). Use a "
        "weights file with --set embed.weights=/path/to/weights.h5, another model with "
        "--set embed.encoder=/path/to/model.keras, or the one that is installed as a package with "
        "--set embed.encoder=efficientnet_lite0"
    )


def _own_size(constructor: Callable[..., Any], spec: EncoderSpec) -> tuple[int, int]:
    """The size that the model was made for, which Keras only tells through a model built with its head."""
    options = {k: v for k, v in spec.options.items() if k not in {"input_shape", "pooling"}}
    _, height, width, _ = _construct(constructor, spec, weights=None, include_top=True, **options).input_shape
    return height, width


def _from_file(
    constructor: Callable[..., Any], spec: EncoderSpec, path: Path, arguments: dict[str, Any]
) -> Any:
    """Weights of the headless model, or of the whole classifier, whose head is then left behind."""
    headless = _construct(constructor, spec, weights=None, include_top=False, pooling="avg", **arguments)
    try:
        load_weights(headless, path)
        return headless
    except ValueError as error:
        first = str(error)
    whole = _construct(constructor, spec, weights=None, include_top=True, **arguments)
    try:
        load_weights(whole, path)
    except ValueError as error:
        raise EncoderError(
            f"{path} does not fit {spec.source} with {_shown(arguments)}: neither without the classification head "
            f"({first}) nor with it ({error}). Another alpha, size or number of classes goes into "
            "embed.options, e.g. {alpha: 0.75} or {classes: 10}."
        ) from None
    # A head only adds layers at the end, so the headless weights are the first ones of the whole model.
    mine = whole.get_weights()[: len(headless.weights)]
    if [w.shape for w in mine] != [tuple(w.shape) for w in headless.weights]:
        raise EncoderError(
            f"{spec.source} cannot be cut before its head; save it as a .keras file and name a layer."
        )
    headless.set_weights(mine)
    return headless


@contextmanager
def _impatient_downloads() -> Iterator[None]:
    """Give up on a host that does not answer; Keras itself would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_STALL_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _shown(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{k}={v}" for k, v in arguments.items())
