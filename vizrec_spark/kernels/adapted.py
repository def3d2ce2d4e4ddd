"""What was learned from labels, as plain arrays: stored features to vectors for look-alikes and to probabilities.

An adapted encoder is its base encoder and, behind it, the steps of this module. They are numpy alone, so that a Python
worker needs no second framework, and a file of them can hold nothing that runs.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.errors import EncoderError

Floats = NDArray[np.float32]
Kind = Literal["binary", "multi_class", "multi_label"]
Activation = Literal["relu", "gelu", "silu", "tanh", "exp"]

_FORMAT = 1
_LARGEST = 1 << 30  # bytes of all arrays together; an archive may claim anything


@dataclass(frozen=True)
class Dense:
    """A layer x @ kernel + bias: kernel (inputs, outputs), bias (outputs,), float32."""

    kernel: Floats
    bias: Floats


@dataclass(frozen=True)
class Head:
    """Dense layers with `activation` between them: features to logits, (n, inputs) to (n, classes)."""

    layers: tuple[Dense, ...]
    activation: Activation

    def scaled(self, share: float) -> Head:
        """The same with logits `share` times as large."""
        last, factor = self.layers[-1], np.float32(share)
        return Head((*self.layers[:-1], Dense(factor * last.kernel, factor * last.bias)), self.activation)


@dataclass(frozen=True)
class Projection:
    """The vector [(φ(x) - mean) @ matrix, label_weight √p]: mean (d,), matrix (d, r) float32, φ as in `unit_roots`, p
    the probabilities of the labels, left out where label_weight is 0.

    √p makes an inner product the overlap of two distributions (Bhattacharyya 1943).
    """

    mean: Floats
    matrix: Floats
    label_weight: float


@dataclass(frozen=True)
class Adapted:
    """What an adaptation has learned.

    classes: the labels, in the order of the probabilities. members: heads whose logits are added up. temperature: above
    0; logits are divided by it, so that probabilities mean what they say. projection: to the vectors that look-alikes
    are compared in.
    """

    kind: Kind
    classes: tuple[str, ...]
    members: tuple[Head, ...]
    temperature: float
    projection: Projection

    @property
    def inputs(self) -> int:
        """Length of the base encoder's vectors."""
        return len(self.projection.mean)

    @property
    def dimension(self) -> int:
        """Length of the adapted vectors."""
        labels = len(self.classes) if self.projection.label_weight else 0
        return int(self.projection.matrix.shape[1]) + labels

    def apply(self, features: Floats) -> tuple[Floats, Floats]:
        """Features (n, `inputs`) float32 to vectors (n, `dimension`) and probabilities (n, classes), float32.

        A row of probabilities sums to 1 unless the kind is multi_label. Raises: EncoderError for another width.
        """
        if features.ndim != 2 or features.shape[1] != self.inputs:
            raise EncoderError(
                f"the adapted encoder takes vectors of {self.inputs} numbers, got an array of {features.shape}: "
                "they come from another base encoder."
            )
        prepared = unit_roots(features)
        logits = summed_logits(self.members, prepared)
        probabilities = probabilities_of(logits, self.kind, self.temperature)
        return vectors_of(self.projection, prepared, probabilities), probabilities


def unit_roots(features: Floats) -> Floats:
    """φ(x) = sign(x) √|x|, scaled to length √d; a zero vector stays one. (n, d) float32.

    Square roots tame the few features that burst, and length 1 is what a cosine sees (Perronnin, Sánchez and Mensink
    2010, "Improving the Fisher Kernel for Large-Scale Image Classification"). √d keeps the entries near 1.
    """
    roots = np.sign(features) * np.sqrt(np.abs(features))
    lengths = np.sqrt(np.square(roots).sum(axis=1, keepdims=True) / max(features.shape[1], 1))
    return np.asarray(np.divide(roots, lengths, out=np.zeros_like(roots), where=lengths > 0), np.float32)


def vectors_of(projection: Projection, prepared: Floats, probabilities: Floats) -> Floats:
    """φ(x) (n, d) and the labels' probabilities (n, classes) to vectors float32; see `Projection`."""
    seen = (prepared - projection.mean) @ projection.matrix
    return with_labels(seen, probabilities, projection.label_weight)


def with_labels(seen: NDArray[np.floating], probabilities: Floats, weight: float) -> Floats:
    """[seen, weight √p] float32, or where the weight is 0 what is seen alone: (n, r) and (n, classes) side by side."""
    if not weight:
        return np.asarray(seen, np.float32)
    return np.column_stack([seen, np.float32(weight) * np.sqrt(probabilities)]).astype(np.float32)


def summed_logits(members: Sequence[Head], prepared: Floats) -> Floats:
    """The logits of all members on φ(x) (n, d), added up: (n, classes) float32."""
    total = np.zeros((len(prepared), len(members[0].layers[-1].bias)), np.float32)
    for head in members:
        x = prepared
        for layer in head.layers[:-1]:
            x = _ACTIVATIONS[head.activation](x @ layer.kernel + layer.bias)
        total += x @ head.layers[-1].kernel + head.layers[-1].bias
    return total


def probabilities_of(logits: NDArray[np.floating], kind: Kind, temperature: float) -> Floats:
    """Softmax of logits / temperature, or for multi_label the logistic function of each."""
    scaled = logits.astype(np.float64) / temperature
    if kind == "multi_label":
        return (1.0 / (1.0 + np.exp(-np.clip(scaled, -500, 500)))).astype(np.float32)
    scaled -= scaled.max(axis=1, keepdims=True)
    weights = np.exp(scaled)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def given(probabilities: Floats, kind: Kind) -> NDArray[np.bool_]:
    """Which labels a picture gets: the most probable one (of equals the first), multi_label: each of 0.5 or more."""
    if kind == "multi_label":
        return np.asarray(probabilities >= 0.5)
    best = np.zeros(probabilities.shape, bool)
    best[np.arange(len(best)), probabilities.argmax(axis=1)] = True
    return best


def adapted_id(base_encoder_id: str, name: str, digest: str) -> str:
    """``<name>-<12 hex digits>``: a hash of the base encoder's id and of what was learned."""
    return f"{name}-{hashlib.sha256(f'{base_encoder_id} {digest}'.encode()).hexdigest()[:12]}"


def tuned_id(base_encoder_id: str, name: str, weights: Sequence[NDArray[Any]]) -> str:
    """``<name>_tuned-<12 hex digits>``: a hash of the id of the encoder that was fine-tuned, which stands for its
    architecture and preprocessing, and of all weights as they are now."""
    digest = hashlib.sha256(base_encoder_id.encode())
    for weight in weights:
        array = np.ascontiguousarray(weight, weight.dtype.newbyteorder("<"))
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.data)
    return f"{name}_tuned-{digest.hexdigest()[:12]}"


def to_bytes(adapted: Adapted) -> bytes:
    """`adapted` as an npz archive of plain arrays and a line of JSON; equal input gives equal bytes."""
    about = {
        "format": _FORMAT,
        "kind": adapted.kind,
        "classes": list(adapted.classes),
        "members": [[head.activation, len(head.layers)] for head in adapted.members],
        "temperature": adapted.temperature,
        "label_weight": adapted.projection.label_weight,
    }
    arrays: dict[str, Any] = {
        "about": np.frombuffer(json.dumps(about, sort_keys=True).encode(), dtype=np.uint8),
        "mean": adapted.projection.mean,
        "matrix": adapted.projection.matrix,
    }
    for m, head in enumerate(adapted.members):
        for i, layer in enumerate(head.layers):
            arrays[f"kernel_{m}_{i}"], arrays[f"bias_{m}_{i}"] = layer.kernel, layer.bias
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def from_bytes(content: bytes, sha256: str | None = None) -> Adapted:
    """What `to_bytes` has made. Nothing in it is run: arrays of objects, which numpy would unpickle, are refused.

    Raises: EncoderError when the bytes are not those of `sha256`, or hold anything but such an adaptation.
    """
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise EncoderError(
            "the adapted encoder's weights are not those that were registered (their SHA-256 differs): promote "
            "another version, or run stage `adapt` again."
        )
    try:
        arrays = _arrays(content)
        about = json.loads(arrays["about"].astype(np.uint8).tobytes())
        if about["format"] != _FORMAT:
            raise ValueError(f"format {about['format']}, this program reads {_FORMAT}")
        return _checked(about, arrays)
    except Exception as error:  # there is no end to what the readers of zip, npy and JSON raise
        raise EncoderError(
            f"the file of an adapted encoder is not one of plain arrays and was not read: {str(error)[:200]}"
        ) from None


def _arrays(content: bytes) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > _LARGEST:
            raise ValueError(f"it unpacks to more than {_LARGEST >> 20} MiB")
        return {entry.filename.removesuffix(".npy"): _array(archive, entry) for entry in entries}


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    """An array of the archive. `numpy.load` would first take as much memory as its header asks for."""
    with archive.open(entry) as stream:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError(f"{entry.filename} is of an unknown version of the npy format")
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(stream)
        if dtype not in (np.float32, np.uint8):  # objects would have to be unpickled
            raise ValueError(f"{entry.filename} holds {dtype}, expected float32")
        found = np.frombuffer(stream.read(), dtype)
    return found.reshape(shape, order="F" if by_columns else "C")


def _checked(about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Adapted:
    classes = tuple(str(name) for name in about["classes"])
    if about["kind"] not in ("binary", "multi_class", "multi_label"):
        raise ValueError(f"unknown kind {about['kind']!r}")
    if not about["members"] or not 0 < float(about["temperature"]) < np.inf:
        raise ValueError("no heads, or an impossible temperature")
    if not 0 <= float(about["label_weight"]) < np.inf:
        raise ValueError("an impossible weight of the labels")
    mean, matrix = _matrix(arrays["mean"], (None,)), _matrix(arrays["matrix"], (None, None))
    if len(mean) != len(matrix):
        raise ValueError(f"a mean of {len(mean)} numbers beside a matrix of {matrix.shape}")
    members = []
    for m, (activation, count) in enumerate(about["members"]):
        if activation not in _ACTIVATIONS:
            raise ValueError(f"unknown activation {activation!r}")
        width, layers = len(mean), []
        for i in range(count):
            kernel = _matrix(arrays[f"kernel_{m}_{i}"], (width, None))
            layers.append(Dense(kernel, _matrix(arrays[f"bias_{m}_{i}"], (kernel.shape[1],))))
            width = kernel.shape[1]
        if width != len(classes) or not layers:
            raise ValueError(f"a head of {width} outputs for {len(classes)} labels")
        members.append(Head(tuple(layers), activation))
    return Adapted(
        about["kind"],
        classes,
        tuple(members),
        float(about["temperature"]),
        Projection(mean, matrix, float(about["label_weight"])),
    )


def _matrix(array: NDArray[Any], shape: tuple[int | None, ...]) -> Floats:
    fits = array.ndim == len(shape) and all(
        n in (None, own) for n, own in zip(shape, array.shape, strict=True)
    )
    if array.dtype != np.float32 or not fits or not np.isfinite(array).all():
        raise ValueError(
            f"an array of {array.dtype} {array.shape} where finite float32 of {shape} was expected"
        )
    return np.ascontiguousarray(array)


def _relu(x: Floats) -> Floats:
    return np.maximum(x, 0)


def _silu(x: Floats) -> Floats:
    return np.asarray(x / (1 + np.exp(-np.clip(x, -80, 80))), np.float32)


def _gelu(x: Floats) -> Floats:
    """By the hyperbolic tangent, as `keras.activations.gelu(approximate=True)` has it."""
    return np.asarray(
        0.5 * x * (1 + np.tanh(np.float32(0.7978845608) * (x + np.float32(0.044715) * x**3))), np.float32
    )


def _tanh(x: Floats) -> Floats:
    return np.tanh(x)


def _exp(x: Floats) -> Floats:
    return np.exp(np.minimum(x, 80))


_ACTIVATIONS = {"exp": _exp, "relu": _relu, "gelu": _gelu, "silu": _silu, "tanh": _tanh}
