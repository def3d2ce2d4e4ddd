"""What is known of the items apart from the log: pictures, attributes, age, rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.kernels.block_ridge import BlockRidge, fit_block_ridge
from vizrec_spark.kernels.block_topk import Seen, block_topk
from vizrec_spark.recommend.attributes import Block, attribute_likeness
from vizrec_spark.recommend.items import Entries

_FIT_ROWS = 20_000
_NEAREST = 50
_PAIRED_ITEMS = 50_000
_DIVERSITY_AXES = 32


@dataclass(frozen=True)
class Content:
    """n items in ascending order of `ids`; see `items.ItemSide` for the fields of the same name.

    `blocks`: attributes; `look_features` (n, l) float32: principal components of the centred unit vectors, NaN rows
    without a picture; `alike`: look-alikes with their strength; `added` (n,) float64: seconds, NaN where unknown.
    """

    ids: NDArray[np.object_]
    titles: NDArray[np.object_]
    blocks: Sequence[Block]
    look_features: NDArray[np.float32]
    alike: Entries
    added: NDArray[np.float64]
    group: NDArray[np.int64]
    category: NDArray[np.int64]
    allowed: NDArray[np.bool_]
    boost: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def pictured(self) -> NDArray[np.bool_]:
        """Which items have a picture."""
        return np.isfinite(self.look_features).all(axis=1) & (self.look_features.shape[1] > 0)

    def known(self) -> NDArray[np.bool_]:
        """Items of which a picture or an attribute is known."""
        found = self.pictured
        for block in self.blocks:
            found = found | block.present
        return found


def nearest_by_attributes(likeness: NDArray[np.float32]) -> Entries:
    """The `_NEAREST` items most alike in attributes to each, with dot products above 0.

    All pairs are multiplied, on the driver: for more than `_PAIRED_ITEMS` items, or without attributes, none is listed,
    and attributes weigh candidates but propose none.
    """
    n = len(likeness)
    if n > _PAIRED_ITEMS or not likeness.any():
        return Entries.none()
    itself = Seen(np.arange(n + 1), np.arange(n))
    value, key = block_topk(likeness, likeness, min(_NEAREST, max(n, 1)), seen=itself)
    kept = (key >= 0) & (value > 0)
    return Entries(np.repeat(np.arange(n), kept.sum(axis=1)), key[kept], value[kept].astype(np.float32))


def factors_from_content(
    content: Content,
    factors: NDArray[np.float32],
    has_factors: NDArray[np.bool_],
    user_factors: NDArray[np.float32],
) -> tuple[BlockRidge | None, NDArray[np.float64]]:
    """ALS factors regressed on content: the model, and predictions for all items (n, rank).

    Pictures are one block, each attribute another, so that neither drowns the other; errors count as they change
    the users' scores: eᵀ (UᵀU / u) e. At most `_FIT_ROWS` items are learned from (evenly spaced in order of id). The
    prediction of an item that was learned from is the one of the model without it. No model without content or with
    fewer than 20 items to learn from.
    """
    rows = np.flatnonzero(has_factors & content.known())
    rows = rows[:: max(1, -(-len(rows) // _FIT_ROWS))]
    blocks = [block.values for block in content.blocks]
    present = [block.present for block in content.blocks]
    if content.pictured.any():
        blocks.append(np.nan_to_num(content.look_features).astype(np.float64))
        present.append(content.pictured)
    if not blocks or len(rows) < 20:
        return None, np.zeros(factors.shape)
    wide = user_factors.astype(np.float64)
    metric = wide.T @ wide / max(len(wide), 1)
    held = np.stack(present, axis=1)
    model = fit_block_ridge([b[rows] for b in blocks], factors[rows].astype(np.float64), metric, held[rows])
    masked = [
        np.where(has[:, None], block, mean)
        for block, has, mean in zip(blocks, present, model.means, strict=True)
    ]
    predicted = model.predict(masked)
    predicted[rows] = model.left_out
    return model, predicted


def looks_unit(content: Content) -> NDArray[np.float32]:
    """Unit rows of the first `_DIVERSITY_AXES` look features, which likeness within a list is judged by; zeros without
    a picture."""
    filled = np.nan_to_num(content.look_features[:, :_DIVERSITY_AXES])
    return np.asarray(filled / np.maximum(np.linalg.norm(filled, axis=1, keepdims=True), 1e-12), np.float32)


def likeness_of(content: Content) -> NDArray[np.float32]:
    """See `attributes.attribute_likeness`."""
    return attribute_likeness(content.blocks, len(content))
