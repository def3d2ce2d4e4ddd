"""Names of what the score is made of: sources of candidates, features, and the parts that a row shows.

A feature belongs to one part; a row's `score_<part>` is the sum of weight · feature over the part's features.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.config.models import BlendWeights, CandidatesConfig

LISTED: Final = ("ridge", "cosine", "looks", "attributes")
"""Sources that are lists of items for each item; the first two are of co-consumption."""

SOURCES: Final = ("als", "cooccurrence", "visual", "attributes", "popularity", "fresh", "new")
"""Who can propose a candidate, in the order of the bits of `Candidates.proposed`."""

PARTS: Final = ("cf", "cooccurrence", "visual", "attributes", "popularity")
"""The parts of the score, in the order of the table's columns."""

PART_SOURCES: Final = ("als", "cooccurrence", "visual", "attributes", "popularity")
"""How column `source` calls each part."""


class Feature(NamedTuple):
    """A feature, the part that it belongs to, and what it is."""

    name: str
    part: str
    meaning: str


FEATURES: Final = (
    Feature("als", "cf", "u · v of the ALS model"),
    Feature(
        "new_als",
        "cf",
        "u · v of a new item, whose factors come from its content",
    ),
    Feature("ridge_recent", "cooccurrence", "sum of the ridge weights from recent items, by recency"),
    Feature("ridge_whole", "cooccurrence", "sum of the ridge weights from the whole history"),
    Feature("cosine_recent", "cooccurrence", "sum of co-consumption cosines with recent items, by recency"),
    Feature("looks_recent", "visual", "mean likeness to recent items, by recency"),
    Feature("looks_whole", "visual", "mean likeness to the whole history"),
    Feature("looks_most", "visual", "largest likeness to an item of the history, times its recency"),
    Feature("looks_most_whole", "visual", "largest likeness to an item of the history"),
    Feature("attributes_recent", "attributes", "mean likeness of attributes to recent items, by recency"),
    Feature("attributes_whole", "attributes", "mean likeness of attributes to the whole history"),
    Feature("popularity", "popularity", "log(1 + people who like the item)"),
    Feature("trend", "popularity", "log(1 + people, each event halved every half-life before the last one)"),
    Feature(
        "freshness",
        "popularity",
        "2^(−days since it was added / 30); 0 where that is unknown, and for new items",
    ),
    Feature("new", "popularity", "1 for a new item, whose popularity nobody knows yet"),
)

NAMES: Final = tuple(feature.name for feature in FEATURES)
PART_OF: Final[NDArray[np.int64]] = np.array([PARTS.index(feature.part) for feature in FEATURES])
LEAST: Final = {"new": -1e6, "new_als": 0.05}
"""Least weights of features where weights are kept from being negative, if not 0: newness is a constant of a kind of
item and may count against it; among new items nothing but `new_als` tells one from another."""


def used_features(weights: BlendWeights) -> NDArray[np.bool_]:
    """Which features belong to a part that is not left out (weight 0)."""
    return np.array([getattr(weights, feature.part) > 0 for feature in FEATURES], dtype=bool)


def used_limits(limits: CandidatesConfig, weights: BlendWeights) -> CandidatesConfig:
    """`limits` without the sources of parts that are left out; popularity goes on filling lists."""
    left_out = {
        source: 0
        for part, sources in (
            ("cf", ("als", "new")),
            ("cooccurrence", ("cooccurrence",)),
            ("visual", ("visual",)),
            ("attributes", ("attributes",)),
        )
        if getattr(weights, part) == 0
        for source in sources
    }
    return limits.model_copy(update=left_out)


def at(name: str) -> int:
    """The column of a feature."""
    return NAMES.index(name)
