"""Which layers of a Keras model are its last blocks, and which of them learn."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vizrec_spark.errors import EncoderError

PREPROCESSING = "preprocessing"
"""The layer that scales pixels in an encoder's file; it never learns."""

# conv5_block3_1_conv, block7a_project_bn, block_16_expand, block5_conv3, convnext_tiny_stage_3_block_2_..., XBlock_6,
# _blocks-15-_bn1; MobileNetV3's expanded_conv_10_expand, the first of which has no number; MobileNet's conv_pw_13_bn.
_NAMED = (
    re.compile(r"^(?P<block>.*block(?:s?[-_])?\d+[a-z]?)(?![a-z0-9])", re.IGNORECASE),
    re.compile(r"^(?P<block>expanded_conv(?:_\d+)?)(?![0-9])"),
    re.compile(r"^conv_[dp]w_(?P<block>\d+)(?![0-9])"),
)
_NORMALISATION = ("BatchNormalization", "LayerNormalization", "GroupNormalization", "UnitNormalization")


@dataclass(frozen=True)
class Block:
    """Layers with weights that belong together, in the order of the model."""

    name: str
    layers: tuple[Any, ...]


def blocks_of(model: Any) -> list[Block]:
    """The blocks of any Keras model, first to last: every layer with weights is in one, but for `PREPROCESSING`.

    By name, as the models of ``keras.applications`` have them: a block is what shares a name up to and including
    ``block`` and a number (``conv5_block3``), and likewise ``expanded_conv_10`` and ``conv_pw_13``. Layers of no such
    name belong to the block before them, and those before the first block make one of their own, the stem.
    Where names tell no two blocks, each layer with weights is a block, together with the normalisation behind it.
    Models within the model count as their layers.
    """
    layers = [layer for layer in flat_layers(model) if layer.weights]
    names = [_block_name(layer.name) for layer in layers]
    found: dict[str, list[Any]] = {}
    if len({name for name in names if name is not None}) > 1:
        last = "stem"
        for layer, name in zip(layers, names, strict=True):
            last = name or last
            found.setdefault(last, []).append(layer)
    else:
        for layer in layers:
            if found and type(layer).__name__ in _NORMALISATION:
                found[next(reversed(found))].append(layer)
            else:
                found.setdefault(layer.name, []).append(layer)
    return [Block(name, tuple(mine)) for name, mine in found.items()]


def train_last(model: Any, count: int, *, batch_norm: bool) -> list[Block]:
    """Lets the last `count` blocks learn and freezes all others; returns those that learn.

    Batch normalisation is frozen in all blocks unless `batch_norm`: in Keras a frozen one computes with the means and
    variances that it has, and leaves them. Raises: EncoderError when there are fewer blocks.
    """
    blocks = blocks_of(model)
    if count > len(blocks):
        raise EncoderError(
            f"adapt.fine_tune.blocks = {count}, and the encoder has {len(blocks)}: "
            f"{', '.join(block.name for block in blocks[-6:])} at the end."
        )
    chosen = blocks[-count:]
    learning = {id(layer) for block in chosen for layer in block.layers}
    for layer in flat_layers(model):
        frozen = type(layer).__name__ == "BatchNormalization" and not batch_norm
        layer.trainable = id(layer) in learning and not frozen
    if not model.trainable_variables:
        raise EncoderError(
            f"the last {count} block(s) of the encoder have nothing to learn but batch normalisation: set "
            "adapt.fine_tune.blocks higher, or adapt.fine_tune.batch_norm."
        )
    return chosen


def usable(model: Any, counts: Sequence[int], *, batch_norm: bool) -> list[int]:
    """Those of `counts` that `train_last` takes."""
    found = []
    for count in counts:
        with suppress(EncoderError):
            train_last(model, count, batch_norm=batch_norm)
            found.append(count)
    return found


def free(model: Any) -> None:
    """Undoes `train_last`: all layers may learn again, but for `PREPROCESSING`."""
    for layer in flat_layers(model):
        layer.trainable = True


def flat_layers(model: Any) -> Iterator[Any]:
    """The layers of a model, and of the models in it, in order; without the one that scales pixels."""
    for layer in model.layers:
        if getattr(layer, "layers", None):
            yield from flat_layers(layer)
        elif layer.name != PREPROCESSING:
            yield layer


def _block_name(layer: str) -> str | None:
    return next((found["block"] for pattern in _NAMED if (found := pattern.match(layer))), None)
