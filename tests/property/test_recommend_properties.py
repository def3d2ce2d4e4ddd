"""The scoring kernels against plain Python that says the same slowly.

Factors are small integers, weights powers of two and ages whole half-lives, so that both sides compute the
same numbers to the last bit and ties are the rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizrec_spark.config.models import BlendWeights, CandidatesConfig, RecommendConfig
from vizrec_spark.kernels import block_topk
from vizrec_spark.recommend import blend
from vizrec_spark.recommend.blend import SOURCES, recommend_block
from vizrec_spark.recommend.candidates import (
    cf_candidates,
    popular_candidates,
    visual_candidates,
    visual_pairs,
)
from vizrec_spark.recommend.history import recent
from vizrec_spark.recommend.items import ItemSide, build_item_side
from vizrec_spark.recommend.pairs import Pairs, Users, best_per_group, contains, expand, keys, place_in_group

DAY = 86_400.0


@dataclass(frozen=True)
class Entry:
    item: int
    weight: float
    time: float


@dataclass(frozen=True)
class User:
    """`factors` is None for a user without a model row."""

    factors: tuple[int, ...] | None
    history: tuple[Entry, ...] = ()

    def seen(self) -> set[int]:
        return {entry.item for entry in self.history}


@dataclass(frozen=True)
class Shop:
    """`factors` (None without a model row), `people`, `looks` (neighbour to cosine) of each item; its users."""

    factors: tuple[tuple[int, ...] | None, ...]
    people: tuple[int, ...]
    looks: tuple[dict[int, float], ...]
    users: tuple[User, ...]
    rank: int

    def side(self) -> ItemSide:
        n = len(self.people)
        flat = [(i, j, c) for i, near in enumerate(self.looks) for j, c in near.items()]
        bounds = np.cumsum([0, *(len(near) for near in self.looks)]).astype(np.int64)
        ordered = sorted(flat, key=lambda e: (e[0], -e[2], e[1]))
        return ItemSide(
            ids=np.array([f"i{i:03d}" for i in range(n)], dtype=object),
            titles=np.array([f"Item {i}" for i in range(n)], dtype=object),
            people=np.array(self.people, dtype=np.int64),
            factors=np.array(
                [f if f is not None else (0,) * self.rank for f in self.factors], dtype=np.float32
            ).reshape(n, self.rank),
            has_factors=np.array([f is not None for f in self.factors], dtype=bool),
            start=bounds,
            neighbors=np.array([e[1] for e in ordered], dtype=np.int32),
            strength=np.array([e[2] for e in ordered], dtype=np.float32),
        )

    def block(self, order: Sequence[int] | None = None) -> Users:
        chosen = [self.users[u] for u in (range(len(self.users)) if order is None else order)]
        flat = [(row, entry) for row, user in enumerate(chosen) for entry in user.history]
        factors = [u.factors if u.factors is not None else (0,) * self.rank for u in chosen]
        return Users(
            factors=np.array(factors, dtype=np.float32).reshape(len(chosen), self.rank),
            has_factors=np.array([u.factors is not None for u in chosen], dtype=bool),
            user=np.array([row for row, _ in flat], dtype=np.int64),
            item=np.array([e.item for _, e in flat], dtype=np.int64),
            weight=np.array([e.weight for _, e in flat], dtype=np.float64),
            event=np.array(["view"] * len(flat), dtype=object),
            time=np.array([e.time for _, e in flat], dtype=np.float64),
        )


def _random_shop(n: int, n_users: int, rank: int, modelled: float, looked: float, seed: int) -> Shop:
    """`modelled` and `looked` are the shares of rows with factors and of pairs that look alike."""
    random = Random(seed)

    def vector() -> tuple[int, ...] | None:
        return tuple(random.randint(-2, 2) for _ in range(rank)) if random.random() < modelled else None

    def history() -> tuple[Entry, ...]:
        touched = random.sample(range(n), random.randint(0, n))
        return tuple(
            Entry(i, random.choice([0.0, 1.0, 2.0, 4.0]), DAY * random.randint(0, 3)) for i in touched
        )

    def near(item: int) -> dict[int, float]:
        others = [other for other in range(n) if other != item and random.random() < looked]
        return {other: random.choice([0.125, 0.25, 0.5, 1.0]) for other in others}

    return Shop(
        factors=tuple(vector() for _ in range(n)),
        people=tuple(random.randint(0, 3) for _ in range(n)),
        looks=tuple(near(item) for item in range(n)),
        users=tuple(User(vector(), history()) for _ in range(n_users)),
        rank=rank,
    )


shops = st.builds(
    _random_shop,
    n=st.integers(0, 9),
    n_users=st.integers(0, 5),
    rank=st.integers(1, 3),
    modelled=st.sampled_from([0.0, 0.7, 1.0]),
    looked=st.sampled_from([0.0, 0.3, 0.8]),
    seed=st.integers(0, 2**32),
)

_part = st.sampled_from([0.0, 0.25, 0.5, 1.0])
configs = st.builds(
    RecommendConfig,
    k=st.integers(1, 12),
    weights=st.tuples(_part, _part, _part)
    .filter(any)
    .map(lambda w: BlendWeights(cf=w[0], visual=w[1], popularity=w[2])),
    candidates=st.builds(
        CandidatesConfig, als=st.integers(0, 6), visual=st.integers(0, 6), popularity=st.integers(0, 6)
    ),
    history=st.integers(1, 5),
    half_life_days=st.just(1.0),
)


# --- the slow side ---------------------------------------------------------------------------------------


def slow_recent(user: User, config: RecommendConfig) -> list[tuple[int, float]]:
    """(item, influence) of the latest entries, latest first."""
    kept = sorted((e for e in user.history if e.weight > 0), key=lambda e: (-e.time, e.item))[
        : config.history
    ]
    if not kept:
        return []
    latest = max(e.time for e in kept)
    raw = [e.weight * 2.0 ** (-(latest - e.time) / DAY / config.half_life_days) for e in kept]
    return [(e.item, r / max(raw)) for e, r in zip(kept, raw, strict=True)]


def slow_looks(shop: Shop, user: User, history: Iterable[tuple[int, float]]) -> dict[int, tuple[float, int]]:
    """For each unseen look-alike the largest influence · strength, and the item that gives it."""
    found: dict[int, tuple[float, int]] = {}
    for item, influence in sorted(history):
        for near, strength in shop.looks[item].items():
            if near not in user.seen() and influence * strength > found.get(near, (-1.0, -1))[0]:
                found[near] = (influence * strength, item)
    return found


def dot(a: tuple[int, ...] | None, b: tuple[int, ...] | None) -> float:
    return float(sum(x * y for x, y in zip(a, b, strict=True))) if a is not None and b is not None else 0.0


def slow_cf(shop: Shop, user: User, k: int) -> list[tuple[int, float]]:
    """A full sort of the user's row of the score matrix."""
    if user.factors is None:
        return []
    scored = [
        (i, dot(user.factors, f))
        for i, f in enumerate(shop.factors)
        if f is not None and i not in user.seen()
    ]
    return sorted(scored, key=lambda e: (-e[1], e[0]))[:k]


def slow_popular(shop: Shop, user: User, k: int) -> list[int]:
    unseen = [i for i in range(len(shop.people)) if i not in user.seen()]
    return sorted(unseen, key=lambda i: (-shop.people[i], i))[:k]


Row = tuple[int, int, tuple[float, float, float], str, int | None]
"""Rank, item, parts, source, item that caused it."""


def slow_list(shop: Shop, user: User, config: RecommendConfig) -> list[Row]:
    history = slow_recent(user, config)
    looks = slow_looks(shop, user, history)
    wanted = config.candidates
    strongest = sorted(looks, key=lambda i: (-looks[i][0], i))[: wanted.visual]
    proposed = {
        *(i for i, _ in slow_cf(shop, user, wanted.als)),
        *strongest,
        *slow_popular(shop, user, max(wanted.popularity, config.k)),
    }
    cf = {i: max(0.0, dot(user.factors, shop.factors[i])) for i in proposed}
    visual = {i: looks.get(i, (0.0, -1))[0] for i in proposed}
    top_cf, top_visual = max(cf.values(), default=0.0), max(visual.values(), default=0.0)
    popularity = shop.side().popularity
    rows = []
    for i in proposed:
        parts = (
            config.weights.cf * (cf[i] / top_cf if top_cf else 0.0),
            config.weights.visual * (visual[i] / top_visual if top_visual else 0.0),
            config.weights.popularity * float(popularity[i]),
        )
        rows.append((i, parts))
    rows.sort(key=lambda row: (-sum(row[1]), row[0]))
    told: list[Row] = []
    for rank, (i, parts) in enumerate(rows[: config.k], start=1):
        source = SOURCES[parts.index(max(parts))] if max(parts) > 0 else "popularity"
        cause: int | None = None
        if source == "visual":
            cause = looks[i][1]
        elif source == "als":
            speaks = [(influence * dot(shop.factors[h], shop.factors[i]), h) for h, influence in history]
            best = max((value for value, _ in speaks), default=0.0)
            if best > 0:
                cause = next(h for value, h in speaks if value == best)
        told.append((rank, i, parts, source, cause))
    return told


def fast_lists(shop: Shop, config: RecommendConfig, order: Sequence[int] | None = None) -> list[list[Row]]:
    """One list for each user of the block, from the kernel."""
    users = shop.block(order)
    got = recommend_block(users, shop.side(), config)
    lists: list[list[Row]] = [[] for _ in range(len(users))]
    for user, rank, item, parts, source, cause in zip(*got, strict=True):
        if cause >= 0:
            assert users.user[cause] == user, "the cause must be in this user's own history"
        caused_by = int(users.item[cause]) if cause >= 0 else None
        p = (float(parts[0]), float(parts[1]), float(parts[2]))
        lists[user].append((int(rank), int(item), p, SOURCES[source], caused_by))
    return lists


def by_user(pairs: Pairs, n_users: int) -> list[list[tuple[int, float, int]]]:
    """(item, value, because) of each user, in the order in which they came."""
    found: list[list[tuple[int, float, int]]] = [[] for _ in range(n_users)]
    for user, item, value, because in zip(*pairs, strict=True):
        found[user].append((int(item), float(value), int(because)))
    return found


# --- pairs -----------------------------------------------------------------------------------------------

_groups = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([-1.0, 0.0, 0.5]), st.integers(0, 50)))


@given(rows=_groups, k=st.integers(0, 4))
def test_best_per_group_is_a_sort_and_a_cut(rows: list[tuple[int, float, int]], k: int) -> None:
    group = np.array([g for g, _, _ in rows], dtype=np.int64)
    value = np.array([v for _, v, _ in rows], dtype=np.float64)
    tie = np.array([t for _, _, t in rows], dtype=np.int64)
    got = best_per_group(group, value, tie, k).tolist()
    wanted = [
        entry
        for g in range(4)
        for entry in sorted((r for r in rows if r[0] == g), key=lambda r: (-r[1], r[2]))[:k]
    ]
    assert [rows[i] for i in got] == wanted
    assert len(set(got)) == len(got)


@given(group=st.lists(st.integers(0, 4)).map(sorted))
def test_place_in_group_counts_from_zero(group: list[int]) -> None:
    place = place_in_group(np.array(group, dtype=np.int64)).tolist()
    assert place == [group[:i].count(g) for i, g in enumerate(group)]


@given(ranges=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 4))))
def test_expand_lists_every_member_of_every_range(ranges: list[tuple[int, int]]) -> None:
    start, length = np.array(ranges, dtype=np.int64).reshape(-1, 2).T
    owner, member = expand(start, length)
    wanted = [(i, s + step) for i, (s, n) in enumerate(ranges) for step in range(n)]
    assert list(zip(owner.tolist(), member.tolist(), strict=True)) == wanted


@given(known=st.sets(st.integers(0, 9)), wanted=st.lists(st.integers(-1, 11)))
def test_contains_is_membership(known: set[int], wanted: list[int]) -> None:
    got = contains(np.array(sorted(known), dtype=np.int64), np.array(wanted, dtype=np.int64))
    assert got.tolist() == [w in known for w in wanted]


@given(pairs=st.sets(st.tuples(st.integers(0, 5), st.integers(0, 6))))
def test_keys_are_unique_and_ordered_as_pairs_are(pairs: set[tuple[int, int]]) -> None:
    user, item = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2).T
    assert (np.diff(keys(user, item, 7)) > 0).all()


# --- history ---------------------------------------------------------------------------------------------


@given(
    events=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(0, 6),
            st.floats(0.01, 100.0),
            st.floats(0, 1e9) | st.sampled_from([0.0, 5e8]),
        ),
        unique_by=lambda e: e[:2],
    ),
    keep=st.integers(1, 5),
    half_life=st.floats(0.1, 1000.0),
)
def test_recent_keeps_the_latest_and_halves_with_age(
    events: list[tuple[int, int, float, float]], keep: int, half_life: float
) -> None:
    nothing = np.zeros((3, 1), dtype=np.float32)
    users = Users(
        factors=nothing,
        has_factors=np.zeros(3, dtype=bool),
        user=np.array([e[0] for e in events], dtype=np.int64),
        item=np.array([e[1] for e in events], dtype=np.int64),
        weight=np.array([e[2] for e in events], dtype=np.float64),
        event=np.array(["view"] * len(events), dtype=object),
        time=np.array([e[3] for e in events], dtype=np.float64),
    )
    order, influence = recent(users, keep, half_life)
    wanted: list[tuple[int, int]] = []
    share: list[float] = []
    for u in range(3):
        kept = sorted((e for e in events if e[0] == u), key=lambda e: (-e[3], e[1]))[:keep]
        raw = [e[2] * 0.5 ** ((kept[0][3] - e[3]) / DAY / half_life) for e in kept]
        wanted += [(u, e[1]) for e in kept]
        share += [r / max(raw) for r in raw]
    assert [(int(users.user[j]), int(users.item[j])) for j in order] == wanted
    np.testing.assert_allclose(influence, share, rtol=1e-9, atol=1e-300)


# --- the item side ---------------------------------------------------------------------------------------

_ids = st.text(min_size=1, max_size=3)
_cosines = st.floats(-1, 1, width=32)


@given(
    catalogue=st.dictionaries(_ids, st.none() | st.text(max_size=3), max_size=6),
    gone=st.sets(_ids, max_size=2),
    data=st.data(),
    mean=st.sampled_from([0.0, 0.3, 0.75, 1.0]),
)
def test_item_side_holds_what_the_tables_say(
    catalogue: dict[str, str | None], gone: set[str], data: st.DataObject, mean: float
) -> None:
    named = sorted(catalogue.keys() | gone)
    pick = st.sampled_from(named) if named else st.nothing()
    people = data.draw(st.dictionaries(pick, st.integers(1, 10**7)))
    factors = data.draw(st.dictionaries(pick, st.tuples(_cosines, _cosines)))
    near = data.draw(st.dictionaries(st.tuples(pick, pick).filter(lambda p: p[0] != p[1]), _cosines))
    side = build_item_side(*tables(catalogue, people, factors, near), mean)

    assert side.ids.tolist() == sorted(catalogue)
    assert side.titles.tolist() == [i if catalogue[i] is None else catalogue[i] for i in sorted(catalogue)]
    assert side.people.tolist() == [people.get(i, 0) for i in side.ids]
    assert side.has_factors.tolist() == [i in factors for i in side.ids]
    width = side.factors.shape[1]
    assert [tuple(f) for f in side.factors.tolist()] == [factors.get(i, (0.0,) * width) for i in side.ids]
    assert side.factors.dtype == np.float32
    for at, item in enumerate(side.ids):
        part = slice(side.start[at], side.start[at + 1])
        got = [
            (side.ids[j], s) for j, s in zip(side.neighbors[part], side.strength[part].tolist(), strict=True)
        ]
        strengths = {
            j: min(1.0, (c - mean) / max(1.0 - mean, 1e-6))
            for (i, j), c in near.items()
            if i == item and j in catalogue
        }
        # Near 0 the two sides may round to different signs; a strength of 0 is left out.
        assert {j for j, s in strengths.items() if s > 1e-6} <= dict(got).keys() <= strengths.keys()
        for j, s in got:
            assert 0 < s <= 1
            assert s == pytest.approx(strengths[j], abs=1e-5)
        assert got == sorted(got, key=lambda e: (-e[1], e[0]))
    assert side.start[-1] == len(side.neighbors) == len(side.strength)


def tables(
    catalogue: dict[str, str | None],
    people: dict[str, int],
    factors: dict[str, tuple[float, float]],
    near: dict[tuple[str, str], float],
) -> tuple[pa.Table, pa.Table, pa.Table, pa.Table]:
    """As Spark hands them over; the catalogue in no order."""
    shuffled = sorted(catalogue, key=lambda i: hash((i, 7)))
    text, vector = pa.string(), pa.list_(pa.float32())
    return (
        pa.table(
            {"item_id": pa.array(shuffled, text), "title": pa.array([catalogue[i] for i in shuffled], text)}
        ),
        pa.table({"item_id": pa.array(people, text), "people": pa.array(people.values(), pa.int64())}),
        pa.table({"item_id": pa.array(factors, text), "factors": pa.array(factors.values(), vector)}),
        pa.table(
            {
                "item_id": pa.array([i for i, _ in near], text),
                "neighbor_id": pa.array([j for _, j in near], text),
                "cosine": pa.array(near.values(), pa.float32()),
            }
        ),
    )


@given(people=st.lists(st.integers(0, 10**9), max_size=20))
def test_popularity_is_a_logarithm_scaled_to_one(people: list[int]) -> None:
    n = len(people)
    side = Shop((None,) * n, tuple(people), ({},) * n, (), 1).side()
    largest = max((math.log1p(p) for p in people), default=0.0)
    wanted = [math.log1p(p) / largest if largest else 0.0 for p in people]
    np.testing.assert_allclose(side.popularity, wanted, rtol=1e-12)
    assert side.by_popularity.tolist() == sorted(range(n), key=lambda i: (-people[i], i))


# --- candidates ------------------------------------------------------------------------------------------


@given(shop=shops, k=st.integers(0, 12), item_block=st.integers(1, 10))
def test_cf_candidates_are_the_head_of_a_full_sort(shop: Shop, k: int, item_block: int) -> None:
    with mock.patch.object(block_topk, "CANDIDATE_TILE", item_block):
        got = cf_candidates(shop.block(), shop.side(), k)
    wanted = [[(i, value, -1) for i, value in slow_cf(shop, user, k)] for user in shop.users]
    assert by_user(got, len(shop.users)) == wanted


@given(
    n_items=st.integers(40, 90),
    n_users=st.integers(1, 6),
    k=st.integers(1, 50),
    item_block=st.integers(7, 40),
    seed=st.integers(0, 999),
)
def test_cf_candidates_over_many_item_blocks(
    n_items: int, n_users: int, k: int, item_block: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    vectors = random.integers(-2, 3, (n_items + n_users, 3)).tolist()
    absent = random.random(n_items + n_users) < 0.1
    rows = [None if gone else tuple(v) for v, gone in zip(vectors, absent, strict=True)]
    users = tuple(
        User(row, tuple(Entry(int(i), 1.0, 0.0) for i in random.permutation(n_items)[:20]))
        for row in rows[n_items:]
    )
    shop = Shop(tuple(rows[:n_items]), (0,) * n_items, ({},) * n_items, users, 3)
    with mock.patch.object(block_topk, "CANDIDATE_TILE", item_block):
        got = cf_candidates(shop.block(), shop.side(), k)
    wanted = [[(i, value, -1) for i, value in slow_cf(shop, user, k)] for user in users]
    assert by_user(got, n_users) == wanted


def test_a_users_cf_candidates_do_not_depend_on_the_users_beside_them() -> None:
    """Items that differ in the last bits of float32, where a matrix product rounds with the shape of its block."""
    random = np.random.default_rng(0)
    items, rank, n_users = 500, 48, 130
    alike = random.normal(size=rank) + 1e-7 * random.normal(size=(items, rank))
    shop = Shop((None,) * items, (0,) * items, ({},) * items, (User(None),) * n_users, rank)
    side = replace(shop.side(), factors=alike.astype(np.float32), has_factors=np.ones(items, dtype=bool))
    factors = random.normal(size=(n_users, rank)).astype(np.float32)

    def found(rows: slice) -> list[int]:
        """The candidates of the last user of `rows`, as a set in order of id."""
        some = np.arange(n_users)[rows]
        none = np.zeros(0, dtype=np.int64)
        block = Users(factors[some], np.ones(len(some), dtype=bool), none, none, none, none, none)
        pairs = cf_candidates(block, side, 20)
        return sorted(pairs.item[pairs.user == len(some) - 1].tolist())

    wanted = np.argsort(-(alike.astype(np.float32).astype(np.float64) @ factors[-1].astype(np.float64)))[:20]
    for rows in (slice(-1, None), slice(-7, None), slice(0, None)):
        assert found(rows) == sorted(wanted.tolist())


@given(shop=shops, k=st.integers(0, 12))
def test_popular_candidates_are_the_most_chosen_unseen_items(shop: Shop, k: int) -> None:
    side = shop.side()
    got = popular_candidates(shop.block(), side, k)
    wanted = [
        [(i, float(side.popularity[i]), -1) for i in slow_popular(shop, user, k)] for user in shop.users
    ]
    assert by_user(got, len(shop.users)) == wanted


@given(shop=shops, config=configs)
def test_visual_value_is_the_brute_force_maximum_and_its_cause_the_arg_max(
    shop: Shop, config: RecommendConfig
) -> None:
    users, side = shop.block(), shop.side()
    looks = visual_pairs(users, side, *recent(users, config.history, config.half_life_days))
    slow = [slow_looks(shop, user, slow_recent(user, config)) for user in shop.users]
    assert by_user(looks, len(shop.users)) == [[(i, *found[i]) for i in sorted(found)] for found in slow]
    k = config.candidates.visual
    strongest = [sorted(found, key=lambda i: (-found[i][0], i))[:k] for found in slow]
    assert by_user(visual_candidates(looks, k), len(shop.users)) == [
        [(i, *found[i]) for i in chosen] for found, chosen in zip(slow, strongest, strict=True)
    ]


@given(shop=shops, config=configs)
def test_without_its_cause_a_look_alike_loses_value_or_has_another_cause(
    shop: Shop, config: RecommendConfig
) -> None:
    users, side = shop.block(), shop.side()
    latest, influence = recent(users, config.history, config.half_life_days)
    before = by_user(visual_pairs(users, side, latest, influence), len(shop.users))
    for row, found in enumerate(before):
        for item, value, cause in found:
            rest = ~((users.user[latest] == row) & (users.item[latest] == cause))
            assert rest.sum() == len(latest) - 1, "the cause is one of the user's recent entries"
            after = by_user(visual_pairs(users, side, latest[rest], influence[rest]), len(shop.users))[row]
            left = {i: (v, because) for i, v, because in after}.get(item, (0.0, -1))
            assert left[0] < value or (left[0] == value and left[1] > cause)


# --- the blend -------------------------------------------------------------------------------------------


@given(shop=shops, config=configs, item_block=st.integers(1, 10), chunk=st.integers(1, 9))
def test_a_block_gives_what_the_plain_rules_give(
    shop: Shop, config: RecommendConfig, item_block: int, chunk: int
) -> None:
    with (
        mock.patch.object(block_topk, "CANDIDATE_TILE", item_block),
        mock.patch.object(blend, "_CHUNK", chunk),
    ):
        got = fast_lists(shop, config)
    assert got == [slow_list(shop, user, config) for user in shop.users]


@given(shop=shops, config=configs)
def test_a_list_is_ranked_unseen_and_without_repeats(shop: Shop, config: RecommendConfig) -> None:
    for user, rows in zip(shop.users, fast_lists(shop, config), strict=True):
        items = [item for _, item, _, _, _ in rows]
        assert [rank for rank, *_ in rows] == list(range(1, len(rows) + 1))
        assert len(set(items)) == len(items)
        assert not set(items) & user.seen()
        # Popularity fills up, so a list is short only where the catalogue is.
        assert len(rows) == min(config.k, len(shop.people) - len(user.seen()))
        order = [(-sum(parts), item) for _, item, parts, _, _ in rows]
        assert order == sorted(order)
        limits = (config.weights.cf, config.weights.visual, config.weights.popularity)
        for _, item, parts, source, cause in rows:
            assert all(0.0 <= part <= limit for part, limit in zip(parts, limits, strict=True))
            assert max(parts) == 0 or parts[SOURCES.index(source)] == max(parts)
            if source == "als":
                assert user.factors is not None and shop.factors[item] is not None
            if source == "visual":
                assert cause is not None and item in shop.looks[cause]
            assert cause is None or cause in user.seen()


@given(shop=shops, config=configs, data=st.data())
def test_a_users_list_does_not_depend_on_block_or_order(
    shop: Shop, config: RecommendConfig, data: st.DataObject
) -> None:
    together = fast_lists(shop, config)
    order = data.draw(st.permutations(range(len(shop.users))))
    cut = data.draw(st.integers(0, len(order)))
    apart = [*fast_lists(shop, config, order[:cut]), *fast_lists(shop, config, order[cut:])]
    assert apart == [together[u] for u in order]


@given(shop=shops, config=configs, data=st.data())
def test_a_users_list_does_not_depend_on_the_order_of_the_history(
    shop: Shop, config: RecommendConfig, data: st.DataObject
) -> None:
    mixed = tuple(
        replace(user, history=tuple(data.draw(st.permutations(user.history)))) for user in shop.users
    )
    assert fast_lists(replace(shop, users=mixed), config) == fast_lists(shop, config)


# --- by hand ---------------------------------------------------------------------------------------------


def test_a_list_worked_out_by_hand() -> None:
    """The user viewed item 0 a half-life ago and item 1 now; parts, order and causes are counted on paper."""
    user = User((1, 0), (Entry(0, 1.0, 0.0), Entry(1, 1.0, 30 * DAY)))
    shop = Shop(
        factors=((1, 0), (0, 1), (4, 0), (2, 9), None),
        people=(1, 1, 0, 0, 3),
        looks=({3: 1.0, 4: 1.0}, {4: 0.25}, {}, {}, {}),
        users=(user,),
        rank=2,
    )
    config = RecommendConfig(k=3, weights=BlendWeights(cf=0.5, visual=0.4, popularity=0.1))
    # item 2: cf 4 of 4. item 3: cf 2 of 4, looks 0.5 · 1 of 0.5. item 4: looks max(0.5 · 1, 1 · 0.25), popular.
    (rows,) = fast_lists(shop, config)
    assert [(item, source, cause) for _, item, _, source, cause in rows] == [
        (3, "visual", 0),
        (2, "als", 0),
        (4, "visual", 0),
    ]
    assert [parts for _, _, parts, _, _ in rows] == [
        pytest.approx((0.25, 0.4, 0.0)),
        pytest.approx((0.5, 0.0, 0.0)),
        pytest.approx((0.0, 0.4, 0.1)),
    ]


def test_nothing_left_to_offer_is_an_empty_list() -> None:
    everything = tuple(Entry(item, 1.0, 0.0) for item in range(3))
    shop = Shop(((1,),) * 3, (1,) * 3, ({1: 1.0}, {}, {}), (User((1,), everything), User((1,))), 1)
    seen_all, fresh = fast_lists(shop, RecommendConfig(k=20))
    assert seen_all == []
    assert [item for _, item, *_ in fresh] == [0, 1, 2]


def test_an_empty_catalogue_is_an_empty_list() -> None:
    assert fast_lists(Shop((), (), (), (User((1,)), User(None)), 1), RecommendConfig()) == [[], []]


def test_without_factors_and_neighbours_popularity_serves_everyone() -> None:
    shop = Shop((None,) * 4, (2, 5, 0, 5), ({},) * 4, (User(None, (Entry(1, 1.0, 0.0),)), User(None)), 1)
    lists = fast_lists(shop, RecommendConfig(k=3))
    assert [[(item, source, cause) for _, item, _, source, cause in rows] for rows in lists] == [
        [(3, "popularity", None), (0, "popularity", None), (2, "popularity", None)],
        [(1, "popularity", None), (3, "popularity", None), (0, "popularity", None)],
    ]


def test_an_item_of_which_nothing_is_known_names_no_cause() -> None:
    """All its parts are 0: neither taste nor looks may be claimed for it."""
    shop = Shop(((1,), None), (1, 0), ({}, {}), (User((1,), (Entry(0, 1.0, 0.0),)),), 1)
    ((row,),) = fast_lists(shop, RecommendConfig())
    assert row == (1, 1, (0.0, 0.0, 0.0), "popularity", None)


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_causes_that_speak_alike_the_smaller_id_is_named(order: int) -> None:
    """The history is gathered in no order, so its order must not decide."""
    history = (Entry(0, 1.0, 0.0), Entry(1, 1.0, 0.0))[::order]
    shop = Shop(((1,), (1,), (1,)), (1, 1, 0), ({}, {}, {}), (User((1,), history),), 1)
    ((row,),) = fast_lists(shop, RecommendConfig())
    assert row[1:2] + row[3:] == (2, "als", 0)


def test_a_history_that_speaks_against_an_item_is_not_named_as_its_cause() -> None:
    """The only recent entries have a negative and no product with the item: none of them caused it."""
    user = User((1, 2), (Entry(0, 1.0, 0.0), Entry(1, 1.0, 0.0)))
    shop = Shop(((1, -2), None, (0, 1)), (1, 1, 0), ({}, {}, {}), (user,), 2)
    ((row,),) = fast_lists(shop, RecommendConfig())
    assert row[3:] == ("als", None)
