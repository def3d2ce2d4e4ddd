"""Blends the parts into one score, ranks, and finds what caused each recommendation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.config.models import RecommendConfig
from vizrec_spark.recommend.candidates import (
    cf_candidates,
    popular_candidates,
    visual_candidates,
    visual_pairs,
)
from vizrec_spark.recommend.history import recent
from vizrec_spark.recommend.items import ItemSide
from vizrec_spark.recommend.pairs import (
    Floats,
    Ints,
    Pairs,
    Users,
    best_per_group,
    expand,
    keys,
    place_in_group,
)

SOURCES = ("als", "visual", "popularity")
_CHUNK = 200_000


class Ranked(NamedTuple):
    """Recommendations of a block, ordered by user and rank.

    `user` (row), `rank` (from 1), `item` (position), `parts` (m, 3): what cf, visual and popularity add to the
    score, which is their sum; `source` (m,) index into `SOURCES`; `cause` (m,) history entry or -1.
    """

    user: Ints
    rank: Ints
    item: Ints
    parts: Floats
    source: Ints
    cause: Ints


def recommend_block(users: Users, items: ItemSide, config: RecommendConfig) -> Ranked:
    """The `config.k` best items of each user in the block.

    score = w_cf · cf + w_visual · visual + w_popularity · popularity, where cf is max(0, u · v) over the largest
    of the user's candidates, visual is max over the recent history of influence · strength over the user's
    largest, and popularity is log(1 + people) over the catalogue's largest; so each part is within 0 to 1.
    """
    latest, influence = recent(users, config.history, config.half_life_days)
    looks = visual_pairs(users, items, latest, influence)
    proposals = (
        cf_candidates(users, items, config.candidates.als),
        visual_candidates(looks, config.candidates.visual),
        popular_candidates(users, items, max(config.candidates.popularity, config.k)),
    )
    key = np.unique(np.concatenate([keys(p.user, p.item, len(items)) for p in proposals]))
    user, item = np.divmod(key, max(len(items), 1))
    visual, visual_cause = _looked_up(looks, key, len(items))
    weights = config.weights
    parts = np.column_stack(
        [
            weights.cf * _over_largest(_cf(users, items, user, item), user, len(users)),
            weights.visual * _over_largest(visual, user, len(users)),
            weights.popularity * items.popularity[item],
        ]
    )
    score = parts.sum(axis=1)
    chosen = best_per_group(user, score, item, config.k)
    user, item, parts = user[chosen], item[chosen], parts[chosen]
    # An item of which nothing is known has no part above 0: it fills the list as popularity does.
    source = np.where(parts.any(axis=1), parts.argmax(axis=1), SOURCES.index("popularity"))
    cause = _entries(users, latest, user, np.where(source == 1, visual_cause[chosen], -1), len(items))
    of_cf = np.flatnonzero(source == 0)
    cause[of_cf] = _cf_cause(users, items, latest, influence, user[of_cf], item[of_cf])
    return Ranked(user, place_in_group(user) + 1, item, parts, source, cause)


def _cf(users: Users, items: ItemSide, user: Ints, item: Ints) -> Floats:
    """max(0, u · v) of each pair; 0 where either side has no factors (their rows are zero)."""
    value = np.empty(len(user))
    for first in range(0, len(user), _CHUNK):
        part = slice(first, first + _CHUNK)
        value[part] = np.einsum("ij,ij->i", users.factors[user[part]], items.factors[item[part]])
    return np.maximum(value, 0.0)


def _looked_up(pairs: Pairs, key: Ints, n_items: int) -> tuple[Floats, Ints]:
    """Value and cause of each key in `pairs` (which are in order of key), 0 and -1 where there is none."""
    value, because = np.zeros(len(key)), np.full(len(key), -1, dtype=np.int64)
    of = keys(pairs.user, pairs.item, n_items)
    if len(of):
        at = np.minimum(np.searchsorted(of, key), len(of) - 1)
        hit = of[at] == key
        value[hit], because[hit] = pairs.value[at[hit]], pairs.because[at[hit]]
    return value, because


def _over_largest(value: Floats, user: Ints, n_users: int) -> Floats:
    largest = np.zeros(n_users)
    np.maximum.at(largest, user, value)
    return np.divide(value, largest[user], out=np.zeros(len(value)), where=largest[user] > 0)


def _entries(users: Users, latest: Ints, user: Ints, because: Ints, n_items: int) -> Ints:
    """The history entry of each pair of user and causing item; -1 where there is no item."""
    if len(latest) == 0:
        return np.full(len(user), -1, dtype=np.int64)
    key = keys(users.user[latest], users.item[latest], n_items)
    order = np.argsort(key, kind="stable")
    at = np.minimum(np.searchsorted(key[order], keys(user, because, n_items)), len(key) - 1)
    return np.where(because >= 0, latest[order[at]], -1)


def _cf_cause(
    users: Users, items: ItemSide, latest: Ints, influence: Floats, user: Ints, item: Ints
) -> NDArray[np.int64]:
    """The recent history entry h that speaks most for each item c: largest influence · (v_h · v_c), ties by age.

    -1 where none speaks for it, that is where no such product is above 0.
    """
    cause = np.full(len(user), -1, dtype=np.int64)
    who = users.user[latest]  # `recent` gives entries ordered by user
    start = np.searchsorted(who, user, side="left")
    length = np.searchsorted(who, user, side="right") - start
    step = max(1, _CHUNK // max(int(length.max(initial=1)), 1))
    for first in range(0, len(user), step):
        rows = slice(first, first + step)
        owner, member = expand(start[rows], length[rows])
        entry = latest[member]
        value = influence[member] * np.einsum(
            "ij,ij->i", items.factors[users.item[entry]], items.factors[item[rows][owner]]
        )
        best = best_per_group(owner, value, member, 1)
        best = best[value[best] > 0]
        cause[first + owner[best]] = entry[best]
    return cause
