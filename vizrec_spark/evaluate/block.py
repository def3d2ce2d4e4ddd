"""A block of users as arrays: what was recommended to them, and what of it they met afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.evaluate.facts import ItemFacts

Values = NDArray[Any]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Ragged:
    """Lists of item positions: that of row i is `item[start[i]:start[i + 1]]`; -1 for an unknown item."""

    start: Ints
    item: Ints

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def owner(self) -> Ints:
        """The row of each entry."""
        return np.repeat(np.arange(len(self)), np.diff(self.start))


@dataclass(frozen=True)
class Block:
    """`users` rows. L is the length of the longest list.

    items (users, L): positions in `facts`, -1 for an unknown item and behind the end of a list; listed (users, L): a
    place that is taken; hits (users, L): a relevant item stands there (the first time); relevant (users,): items to
    find; candidates (users,): items that could be recommended to the user; known_user, known_item (m,): what each
    user knew before the test, as row and position.
    """

    facts: ItemFacts
    items: Ints
    listed: Bools
    hits: Bools
    relevant: Ints
    candidates: Ints
    known_user: Ints
    known_item: Ints

    def __len__(self) -> int:
        return len(self.items)

    def among(self, items: Bools, inside: Bools, relevant: Ragged) -> Block:
        """The same lists, when only some of the items are to be found.

        items: which items of the catalogue those are; inside: which of the entries of `relevant` they are.
        """
        left = np.bincount(relevant.owner[inside], minlength=len(self))
        return replace(self, hits=self.hits & items[np.maximum(self.items, 0)], relevant=left)


def make_block(facts: ItemFacts, lists: Ragged, relevant: Ragged, known: Ragged) -> Block:
    """A `Block` of lists (best first), relevant and known items; the three have a row a user each.

    A relevant item must not be known, and neither may come twice in a row.
    """
    users, n = len(lists), max(len(facts), 1)
    length = np.diff(lists.start)
    listed = np.arange(max(int(length.max(initial=0)), 1))[None, :] < length[:, None]
    items = np.full(listed.shape, -1, dtype=np.int64)
    items[listed] = lists.item
    wanted = np.sort(relevant.owner * n + relevant.item)
    key = lists.owner * n + lists.item
    hit = (lists.item >= 0) & _member(key, wanted)
    # An item that a list has twice is found once.
    first = np.zeros(len(key), dtype=bool)
    first[np.unique(key, return_index=True)[1]] = True
    hits = np.zeros(listed.shape, dtype=bool)
    hits[listed] = hit & first
    known_in = known.item >= 0
    known_user, known_item = known.owner[known_in], known.item[known_in]
    barred = np.bincount(known_user[facts.candidate[known_item]], minlength=users)
    return Block(
        facts,
        items,
        listed,
        hits,
        np.diff(relevant.start),
        int(facts.candidate.sum()) - barred,
        known_user,
        known_item,
    )


def mean_where(value: Values, counts: Bools) -> Values:
    """The mean of each row of `value` over the places that count; NaN for a row without any."""
    n = counts.sum(axis=1)
    total = np.where(counts, value, 0.0).sum(axis=1)
    return np.divide(total, n, out=np.full(len(value), np.nan), where=n > 0)


def _member(key: Ints, ordered: Ints) -> Bools:
    if len(ordered) == 0:
        return np.zeros(len(key), dtype=bool)
    at = np.minimum(np.searchsorted(ordered, key), len(ordered) - 1)
    return np.asarray(ordered[at] == key)
