"""Proposes items for a block of users: by collaborative filtering, by looks, by popularity.

Items that the user has in their history are never proposed.
"""

from __future__ import annotations

import numpy as np

from vizrec_spark.kernels.block_topk import Seen, block_topk
from vizrec_spark.kernels.selection import PAD_KEY
from vizrec_spark.recommend.items import ItemSide
from vizrec_spark.recommend.pairs import (
    Floats,
    Ints,
    Pairs,
    Users,
    best_per_group,
    contains,
    expand,
    keys,
    place_in_group,
)


def cf_candidates(users: Users, items: ItemSide, k: int) -> Pairs:
    """The k items of largest dot product with the user's factors; users or items without factors have none.

    The cut falls by the products in float64 (`kernels.block_topk`), so that it depends neither on the users in the
    block nor on its size; users × items never stands in memory.
    """
    known = np.flatnonzero(users.has_factors)
    if k == 0 or len(known) == 0:
        return _none()
    row_of = np.full(len(users), -1, dtype=np.int64)
    row_of[known] = np.arange(len(known))
    met = np.flatnonzero(users.has_factors[users.user])
    row = row_of[users.user[met]]
    bounds = np.zeros(len(known) + 1, dtype=np.int64)
    np.cumsum(np.bincount(row, minlength=len(known)), out=bounds[1:])
    seen = Seen(bounds, users.item[met][np.argsort(row, kind="stable")])
    values, found = block_topk(users.factors[known], items.factors, k, seen=seen, eligible=items.has_factors)
    row, place = np.nonzero(found != PAD_KEY)
    item = found[row, place]
    return Pairs(known[row], item, values[row, place], np.full(len(item), -1))


def visual_pairs(users: Users, items: ItemSide, recent: Ints, influence: Floats) -> Pairs:
    """Every look-alike of the recent history: value = max over it of influence · strength, and who caused it."""
    item = users.item[recent]
    owner, member = expand(items.start[item], items.start[item + 1] - items.start[item])
    user = users.user[recent][owner]
    candidate = items.neighbors[member].astype(np.int64)
    value = influence[owner] * items.strength[member]
    fresh = ~contains(seen_keys(users, items), keys(user, candidate, len(items)))
    user, candidate, value, cause = user[fresh], candidate[fresh], value[fresh], item[owner][fresh]
    first = best_per_group(keys(user, candidate, len(items)), value, cause, 1)
    return Pairs(user[first], candidate[first], value[first], cause[first])


def visual_candidates(pairs: Pairs, k: int) -> Pairs:
    """The k strongest of each user's look-alikes."""
    chosen = best_per_group(pairs.user, pairs.value, pairs.item, k)
    return Pairs(pairs.user[chosen], pairs.item[chosen], pairs.value[chosen], pairs.because[chosen])


def popular_candidates(users: Users, items: ItemSide, k: int) -> Pairs:
    """The k most popular items that the user has not seen."""
    if k == 0 or len(items) == 0:
        return _none()
    # Of the first k + (number seen) items, at least k are new to the user.
    depth = np.minimum(k + np.bincount(users.user, minlength=len(users)), len(items))
    user, place = expand(np.zeros(len(users), dtype=np.int64), depth)
    item = items.by_popularity[place]
    fresh = ~contains(seen_keys(users, items), keys(user, item, len(items)))
    user, item = user[fresh], item[fresh]
    head = place_in_group(user) < k
    user, item = user[head], item[head]
    return Pairs(user, item, items.popularity[item], np.full(len(item), -1))


def seen_keys(users: Users, items: ItemSide) -> Ints:
    """Sorted keys of what the users have in their history."""
    return np.sort(keys(users.user, users.item, len(items)))


def _none() -> Pairs:
    empty = np.zeros(0, dtype=np.int64)
    return Pairs(empty, empty, np.zeros(0), empty)
