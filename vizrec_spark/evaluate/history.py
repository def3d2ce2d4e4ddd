"""What a block of users knew before the test: the side of a metric that no list changes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.evaluate.facts import ItemFacts
from vizrec_spark.evaluate.ragged import Ragged

Ints = NDArray[np.int64]


class CategoryShares(NamedTuple):
    """Shares of categories in the items of each user, those above 0 alone.

    key (e,): user · categories + category, ascending; share (e,): float64, sums to 1 over a user who has any.
    """

    key: Ints
    share: NDArray[np.float64]


@dataclass(frozen=True)
class History:
    """`users` users; user, item (m,): what each knew, as row and position in `facts`, ascending and each pair once.

    It is made once for all models, and what metrics derive from it is kept.
    """

    facts: ItemFacts
    users: int
    user: Ints
    item: Ints

    @classmethod
    def of(cls, facts: ItemFacts, known: Ragged) -> History:
        """From the known items of each user; unknown ones (-1) are left out."""
        there = known.item >= 0
        key = np.unique(known.owner[there] * max(len(facts), 1) + known.item[there])
        user, item = np.divmod(key, max(len(facts), 1))
        return cls(facts, len(known), user, item)

    @cached_property
    def barred(self) -> Ints:
        """(users,): how many of the candidates each user knew."""
        return np.bincount(self.user[self.facts.candidate[self.item]], minlength=self.users)

    @cached_property
    def popularity(self) -> Ints:
        """user · items + popularity rank of each known candidate, ascending."""
        offered = self.facts.candidate[self.item]
        rank = self.facts.popularity_rank[self.item[offered]]
        return np.sort(self.user[offered] * len(self.facts) + rank)

    @cached_property
    def categories(self) -> CategoryShares:
        """The shares of categories in what each user knew."""
        return category_shares(self.facts, self.user, self.item)

    def holds(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether each `user` knew the `item` beside it; both (m,)."""
        n = max(len(self.facts), 1)
        return member(user * n + item, self.user * n + self.item)


def category_shares(facts: ItemFacts, user: NDArray[Any], item: NDArray[Any]) -> CategoryShares:
    """`CategoryShares` of items (m,) of users (m,); an item with several categories counts in equal parts."""
    count = facts.category_start[item + 1] - facts.category_start[item]
    owner = np.repeat(np.arange(len(item)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    code = facts.category_codes[facts.category_start[item][owner] + within]
    key, entry = np.unique(user[owner] * facts.n_categories + code, return_inverse=True)
    weight = np.bincount(entry, weights=1.0 / count[owner], minlength=len(key)).astype(np.float64)
    whose = key // max(facts.n_categories, 1)
    return CategoryShares(key, weight / np.bincount(whose, weights=weight)[whose])


def member(key: NDArray[Any], ordered: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of `key` stand in `ordered` (ascending)."""
    if len(ordered) == 0:
        return np.zeros(len(key), dtype=bool)
    at = np.minimum(np.searchsorted(ordered, key), len(ordered) - 1)
    return np.asarray(ordered[at] == key)
