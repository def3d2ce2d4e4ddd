"""The blend: one weight a feature, and what it makes of described candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.config.models import BlendWeights
from vizrec_spark.kernels.compiled import compiled
from vizrec_spark.recommend.assemble import Settings
from vizrec_spark.recommend.describe import Candidates
from vizrec_spark.recommend.sources import FEATURES, NAMES, PART_OF, PARTS, at

CONFIGURED = {
    "cf": ("als", "new_als"),
    "cooccurrence": ("cosine_recent",),
    "visual": ("looks_most",),
    "attributes": ("attributes_recent",),
    "popularity": ("popularity",),
}
"""The feature(s) that stand for each part where weights are configured, not learned."""


@dataclass(frozen=True)
class Judged:
    """NDCG@10 of one way of ranking on the validation window, and how far it is from the learned blend's (mean of
    paired differences, blend less this, with a 95 % interval)."""

    name: str
    ndcg: float
    difference: float
    lo: float
    hi: float


@dataclass(frozen=True)
class Blend:
    """`method`: learned, single (one feature alone won the validation) or configured; `settings`: of the item side
    that it was learned with.

    Arrays in the order of `sources.FEATURES`: `weights` on features divided by `scale` (their standard deviation over
    the candidates), with `lo` and `hi` of a 95 % interval (NaN where none was learned). `judged`: what was compared;
    `pairs`: how many pairs of a chosen and another candidate were learned from; `share`: how much of the weights is
    learned, the rest stands on the best single feature.
    """

    method: str
    settings: Settings
    weights: NDArray[np.float64]
    scale: NDArray[np.float64]
    lo: NDArray[np.float64]
    hi: NDArray[np.float64]
    judged: tuple[Judged, ...] = ()
    pairs: int = 0
    share: float = 1.0

    @property
    def raw(self) -> NDArray[np.float64]:
        """Weights on the features as they are."""
        return self.weights / self.scale


def configured(
    weights: BlendWeights, candidates: Candidates, settings: Settings, largest_als: float
) -> Blend:
    """A blend of configured weights: each part's feature over the largest among each user's candidates, on average.

    `candidates`: of some users, to see how large features are; `largest_als`: the mean over users of their largest
    u · v, 0 without a model.
    """
    values = np.zeros(len(FEATURES))
    scale = np.ones(len(FEATURES))
    for part, names in CONFIGURED.items():
        for name in names:
            values[at(name)] = getattr(weights, part)
    nonempty = np.flatnonzero(np.diff(candidates.indptr) > 0)
    if len(nonempty):
        largest = np.maximum.reduceat(candidates.features, candidates.indptr[nonempty], axis=0)
        for name in ("cosine_recent", "looks_most", "attributes_recent", "popularity"):
            tops = largest[:, at(name)].astype(np.float64)
            if (tops > 0).any():
                scale[at(name)] = tops[tops > 0].mean()
    if largest_als > 0:
        scale[[at("als"), at("new_als")]] = largest_als
    unknown = np.full(len(FEATURES), np.nan)
    return Blend("configured", settings, values, scale, unknown, unknown)


def contributions(features: NDArray[np.floating], raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each part adds to the score (m, parts) of described candidates (m, f).

    Each row is added up by itself and in one order, so that a score does not depend on who else is in the block.
    """
    parts = np.zeros((len(features), len(PARTS)))
    _add_parts(features, raw, PART_OF, parts)
    return parts


@compiled
def _add_parts(features, raw, part_of, out):  # type: ignore[no-untyped-def]
    for row in range(len(features)):
        for f in range(len(raw)):
            out[row, part_of[f]] += raw[f] * features[row, f]


def totals(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the parts (m, parts) of each row add up to (m,), in one order."""
    total = np.zeros(len(parts))
    _add_rows(parts, total)
    return total


@compiled
def _add_rows(parts, out):  # type: ignore[no-untyped-def]
    for row in range(len(parts)):
        for part in range(parts.shape[1]):
            out[row] += parts[row, part]


def describe_weights(blend: Blend) -> str:
    """One line for people: the weights that are not 0, largest first, with their intervals."""
    order = np.argsort(-np.abs(blend.weights), kind="stable")
    told = []
    for i in order:
        if blend.weights[i] == 0:
            continue
        interval = f" [{blend.lo[i]:.2f}, {blend.hi[i]:.2f}]" if np.isfinite(blend.lo[i]) else ""
        told.append(f"{NAMES[i]} {blend.weights[i]:.2f}{interval}")
    return ", ".join(told)
