"""Serendipity: hits that popularity alone would not have brought."""

from __future__ import annotations

import numpy as np

from vizrec_spark.evaluate.block import Block, Values


def serendipity(block: Block, k: int) -> Values:
    """|relevant ∩ first k, without the k most popular candidates that the user did not know| / k, 0 to 1.

    NaN for users without relevant items. Ge, Delgado-Battenfeld and Jannach 2010, "Beyond Accuracy: Evaluating
    Recommender Systems by Coverage and Serendipity", with popularity as the primitive recommender.
    """
    items, hits = block.items[:, :k], block.hits[:, :k]
    facts = block.facts
    rank = facts.popularity_rank[np.maximum(items, 0)]
    # The place of an item in the popularity list of a user: its rank without the known items before it.
    known, row = block.history.popularity, np.arange(len(block))[:, None] * len(facts)
    before = np.searchsorted(known, row + rank) - np.searchsorted(known, row)
    surprising = hits & (rank - before >= k)
    return np.where(block.relevant > 0, surprising.sum(axis=1) / k, np.nan)
