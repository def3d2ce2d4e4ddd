"""Small random shops for the tests of scoring, with plain arrays that slow oracles can read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vizrec_spark.config.models import AlsConfig
from vizrec_spark.kernels.fold_in import fold_in_implicit, gram
from vizrec_spark.recommend.items import Entries, ItemSide, stacked
from vizrec_spark.recommend.segments import Segments
from vizrec_spark.recommend.sources import LISTED
from vizrec_spark.recommend.users import Users, gather_users

ALS = AlsConfig(rank=3, regularization=0.1, alpha=2.0)


def random_side(rng: np.random.Generator, n: int, new: int = 0) -> ItemSide:
    """n items with random lists, factors, attributes and looks; the last `new` of them are new."""
    entries = {}
    for name in ("ridge", "cosine", "looks"):
        held = rng.random((n, n)) < 0.5
        np.fill_diagonal(held, False)
        of, to = np.nonzero(held)
        value = rng.random(len(of)).astype(np.float32)
        if name == "ridge":
            value -= np.float32(0.2)
        entries[name] = Entries(of, to, value)
    is_new = np.arange(n) >= n - new
    attributes = rng.normal(size=(n, 4))
    attributes /= np.linalg.norm(attributes, axis=1, keepdims=True)
    looks = rng.normal(size=(n, 5))
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    near = attributes @ attributes.T
    near_of, near_to = np.nonzero((near > 0) & ~np.eye(n, dtype=bool))
    entries["attributes"] = Entries(near_of, near_to, near[near_of, near_to].astype(np.float32))
    people = np.where(is_new, 0, rng.integers(0, 5, n))
    standing = np.column_stack([np.log1p(people), rng.random(n), rng.random(n), is_new])
    return ItemSide(
        ids=np.array([f"i{i:03d}" for i in range(n)], dtype=object),
        titles=np.array([f"Item {i}" for i in range(n)], dtype=object),
        people=people.astype(np.int64),
        factors=rng.normal(size=(n, ALS.rank)).astype(np.float32),
        has_factors=np.ones(n, dtype=bool),
        modelled=~is_new,
        is_new=is_new,
        lists=stacked(entries, n),
        attributes=attributes.astype(np.float32),
        standing=standing.astype(np.float32),
        by_freshness=rng.permutation(n),
        looks=looks.astype(np.float32),
        group=np.arange(n),
        category=rng.integers(-1, 3, n),
        allowed=rng.random(n) < 0.9,
        boost=np.zeros(n, dtype=np.float32),
        segments=Segments.none(n),
    )


def random_log(
    rng: np.random.Generator, n_users: int, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """user, item, weight, time of about a third of the pairs; a tenth of them disliked."""
    user, item = np.nonzero(rng.random((n_users, n)) < 0.35)
    weight = np.where(rng.random(len(user)) < 0.1, 0.0, rng.choice([1.0, 3.0], len(user)))
    return user, item, weight, rng.permutation(len(user)).astype(np.float64)


def users_with(
    side: ItemSide,
    n_users: int,
    log: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    half_life: float,
    keep: int = 200,
) -> Users:
    """Users whose factors are those of the normal equations on their own history."""
    user, item, weight, time = log
    liked = (weight > 0) & ~side.is_new[item]
    order = np.argsort(user[liked], kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(user[liked], minlength=n_users))])
    modelled = side.factors[side.modelled]
    factors = fold_in_implicit(
        side.factors,
        gram(modelled),
        indptr,
        item[liked][order],
        weight[liked][order],
        regularization=ALS.regularization,
        alpha=ALS.alpha,
    )
    has = np.asarray(factors.any(axis=1))
    return gather_users(factors, has, user, item, weight, time, keep=keep, half_life=half_life)


def value(side: ItemSide, source: str, of: int, to: int) -> float:
    """What item `of` says for `to`, found the slow way."""
    s = LISTED.index(source)
    for e in range(side.lists.start[of, s], side.lists.start[of, s + 1]):
        if side.lists.item[e] == to:
            return float(side.lists.value[e])
    return 0.0


def without(
    users: Users, entry: int, log, side: ItemSide, n_users: int, half_life: float, keep: int
) -> Users:  # type: ignore[no-untyped-def]
    """The users as they were had the user of history entry `entry` never met its item; factors and all."""
    owner = int(np.searchsorted(users.indptr, entry, side="right") - 1)
    user, item = log[:2]
    kept = ~((user == owner) & (item == users.item[entry]))
    return users_with(side, n_users, tuple(column[kept] for column in log), half_life, keep)


def only(side: ItemSide, **changes: object) -> ItemSide:
    """`side` with some fields replaced."""
    return replace(side, **changes)
