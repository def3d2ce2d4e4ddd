"""AUC: how often what a user liked next stands before what they did not."""

from __future__ import annotations

import numpy as np

from vizrec_spark.evaluate.block import Block, Values


def auc(block: Block) -> Values:
    """The share of pairs (relevant item, other item) of the user's candidates that the list has in this order.

    Candidates are all items that the user did not know; what else a list holds is looked past. Those that the list
    leaves out stand behind it, all at one rank, and a pair at one rank counts one half: with a full ranking this is
    the exact area under the ROC curve, and an empty list has 0.5. NaN for users without relevant items or with
    nothing else.
    Rendle et al. 2009, "BPR: Bayesian Personalized Ranking from Implicit Feedback", section 3.2; ties as Mann and
    Whitney 1947.
    """
    hits, relevant = block.hits, block.relevant.astype(np.float64)
    others = block.candidates - relevant
    found = hits.sum(axis=1)
    # Other candidates that stand before a hit.
    before = (np.cumsum(block.offered & ~hits, axis=1) * hits).sum(axis=1)
    left_out = relevant - found
    others_left_out = block.candidates - block.offered.sum(axis=1) - left_out
    ordered = found * others - before + 0.5 * left_out * others_left_out
    pairs = relevant * others
    return np.divide(ordered, pairs, out=np.full(len(hits), np.nan), where=(pairs > 0))
