"""A name for what an encoder computes, the same on every machine and in every run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from vizrec_spark.embed.preprocessing import Preprocessing

# Where a layer came from and how it was trained says nothing about what it computes.
_IRRELEVANT = frozenset(
    {
        "module",
        "registered_name",
        "build_config",
        "compile_config",
        "trainable",
        "seed",
        "quantization_config",
    }
)
_IRRELEVANT_ENDINGS = ("_initializer", "_regularizer", "_constraint")
_REFERENCES = frozenset({"keras_history", "input_layers", "output_layers"})


def encoder_id(
    prefix: str,
    model: Any,
    preprocessing: Preprocessing,
    input_size: tuple[int, int],
) -> str:
    """``<prefix>-<12 hex digits>``: sha256 over architecture, weights, preprocessing and input size, for float32.

    `at_precision` makes the id of another precision from it.

    `prefix` is made lower-case letters, digits and underscores, so the id can be a file name.
    """
    digest = hashlib.sha256()
    facts = {
        "architecture": canonical_config(model.get_config()),
        "preprocessing": preprocessing.to_dict(),
        "input_size": list(input_size),
        "precision": "float32",
    }
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    for weight in model.get_weights():
        array = np.ascontiguousarray(weight)
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.data)
    return f"{slug(prefix)}-{digest.hexdigest()[:12]}"


def at_precision(float32_id: str, precision: str, runtime: str) -> str:
    """The id of the same encoder computed at `precision` by `runtime`: itself for float32, else one of its own.

    ``resnet50-<12 hex digits>`` becomes ``resnet50_bfloat16-<12 others>``: a hash of the float32 id, which stands for
    weights, architecture, preprocessing and input size, of the precision, and of the runtime, as each rounds to
    bfloat16 in other places.
    """
    if precision == "float32":
        return float32_id
    digest = hashlib.sha256(f"{float32_id} {precision} {runtime}".encode()).hexdigest()
    return f"{float32_id.rpartition('-')[0]}_{precision}-{digest[:12]}"


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:40] or "encoder"


def canonical_config(value: Any, names: Mapping[str, str] | None = None, reference: bool = False) -> Any:
    """A Keras config without training details, its layers renamed by their position.

    Keras numbers automatic names by what was built before in the process, so names cannot be hashed.
    """
    names = names or {}
    if isinstance(value, Mapping):
        graph = value.get("layers")
        if isinstance(graph, list):
            names = {layer["config"]["name"]: f"layer{i}" for i, layer in enumerate(graph)}
            value = {k: v for k, v in value.items() if k != "name"}
        return {
            key: canonical_config(item, names, reference=key == "name" or key in _REFERENCES)
            for key, item in value.items()
            if key not in _IRRELEVANT and not key.endswith(_IRRELEVANT_ENDINGS)
        }
    if isinstance(value, list | tuple):
        return [canonical_config(item, names, reference) for item in value]
    if reference and isinstance(value, str):
        return names.get(value, value)
    return value
