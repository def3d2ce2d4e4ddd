"""A block of users as arrays: what was recommended to them, and what of it they met afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.evaluate.facts import ItemFacts
from vizrec_spark.evaluate.history import History, member
from vizrec_spark.evaluate.ragged import Ragged

Values = NDArray[Any]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Block:
    """`users` rows. L is the length of the longest list.

    items (users, L): positions in `facts`, -1 for an unknown item and behind the end of a list; listed (users, L): a
    place that is taken; offered (users, L): a candidate that the user did not know stands there, the first time;
    hits (users, L): and it is relevant; relevant (users,): items to find; candidates (users,): items that could be
    recommended to the user; history: what each user knew before the test.
    """

    facts: ItemFacts
    items: Ints
    listed: Bools
    offered: Bools
    hits: Bools
    relevant: Ints
    candidates: Ints
    history: History

    def __len__(self) -> int:
        return len(self.items)

    def among(self, items: Bools, inside: Bools, relevant: Ragged) -> Block:
        """The same lists, when only some of the items are to be found.

        items: which items of the catalogue those are; inside: which of the entries of `relevant` they are.
        """
        left = np.bincount(relevant.owner[inside], minlength=len(self))
        return replace(self, hits=self.hits & items[np.maximum(self.items, 0)], relevant=left)


def make_block(facts: ItemFacts, lists: Ragged, relevant: Ragged, history: History) -> Block:
    """A `Block` of lists (best first), relevant items and what was known; the three have a row a user each.

    A list may hold what it should not: items that are unknown, no candidates, known to the user, or there twice.
    These places are taken and hit nothing. A relevant item must be a candidate that is not known, once in a row.
    """
    n = max(len(facts), 1)
    length = np.diff(lists.start)
    listed = np.arange(max(int(length.max(initial=0)), 1))[None, :] < length[:, None]
    items = np.full(listed.shape, -1, dtype=np.int64)
    items[listed] = lists.item
    # An item that a list has twice is offered, and found, once.
    first = np.zeros(len(lists.item), dtype=bool)
    first[np.unique(lists.owner * (n + 1) + lists.item + 1, return_index=True)[1]] = True
    offer = first & (lists.item >= 0)
    offer &= facts.candidate[np.maximum(lists.item, 0)]
    offer[offer] = ~history.holds(lists.owner[offer], lists.item[offer])
    if (relevant.item < 0).any():  # its key would be that of another user's item
        raise ValueError("a relevant item is not in the catalogue: leave it out before")
    wanted = np.sort(relevant.owner * n + relevant.item)
    hit = offer & member(lists.owner * n + lists.item, wanted)
    offered, hits = np.zeros((2, *listed.shape), dtype=bool)
    offered[listed], hits[listed] = offer, hit
    free = int(facts.candidate.sum()) - history.barred
    return Block(facts, items, listed, offered, hits, np.diff(relevant.start), free, history)


def mean_where(value: Values, counts: Bools) -> Values:
    """The mean of each row of `value` over the places that count; NaN for a row without any."""
    n = counts.sum(axis=1)
    total = np.where(counts, value, 0.0).sum(axis=1)
    return np.divide(total, n, out=np.full(len(value), np.nan), where=n > 0)
