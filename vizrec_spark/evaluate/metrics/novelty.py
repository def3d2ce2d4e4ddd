"""Novelty: how little known the items of a list are."""

from __future__ import annotations

import numpy as np

from vizrec_spark.evaluate.block import Block, Values, mean_where


def novelty(block: Block, k: int) -> Values:
    """Mean self-information of the first k items, −log2((people + 1) / (users + 1)), in bits, 0 or more.

    people: users of the training window who met the item, of `users` in all; one is added to both, so that an item
    that nobody met yet has a finite value. NaN for an empty list.
    Vargas and Castells 2011, "Rank and Relevance in Novelty and Diversity Metrics for Recommender Systems".
    """
    items, listed = block.items[:, :k], block.listed[:, :k]
    facts = block.facts
    bits = -np.log2((facts.people + 1.0) / (facts.n_users + 1.0))
    return mean_where(bits[np.maximum(items, 0)], listed & (items >= 0))
