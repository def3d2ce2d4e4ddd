"""The scoring kernels against plain Python that says the same slowly, and reasons against what removing does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.recommending import ALS, only, random_log, random_side, users_with, value, without
from vizrec_spark.config.models import CandidatesConfig, RecommendConfig, RerankConfig
from vizrec_spark.errors import TableError
from vizrec_spark.recommend.assemble import Settings
from vizrec_spark.recommend.blend import Blend, contributions
from vizrec_spark.recommend.describe import describe
from vizrec_spark.recommend.explain import EXPLAINED
from vizrec_spark.recommend.rerank import rerank
from vizrec_spark.recommend.score import recommend_block
from vizrec_spark.recommend.segments import Segments
from vizrec_spark.recommend.sources import FEATURES, LISTED, NAMES, PARTS, SOURCES, at
from vizrec_spark.recommend.users import gather_users

shops = st.tuples(
    st.integers(0, 2**32 - 1), st.integers(2, 14), st.integers(0, 5), st.sampled_from([1.0, 3.0, 1e6])
)
limits = st.builds(
    CandidatesConfig,
    als=st.integers(0, 6),
    cooccurrence=st.integers(0, 6),
    visual=st.integers(0, 6),
    attributes=st.integers(0, 6),
    popularity=st.integers(0, 6),
    fresh=st.integers(0, 3),
    new=st.integers(0, 3),
)


few = st.sampled_from([0, 0, 0, 1])
scarce = st.builds(
    CandidatesConfig,
    als=few,
    cooccurrence=few,
    visual=few,
    attributes=few,
    popularity=few,
    fresh=few,
    new=few,
)


def made(shop):  # type: ignore[no-untyped-def]
    seed, n, n_users, half_life = shop
    rng = np.random.default_rng(seed)
    side = random_side(rng, n, new=n // 5)
    log = random_log(rng, n_users, n)
    return rng, side, log, users_with(side, n_users, log, half_life)


def slow_features(users, side, user: int, item: int) -> dict[str, float]:  # type: ignore[no-untyped-def]
    entries = range(users.indptr[user], users.indptr[user + 1])
    now = {e: float(users.recent[e]) for e in entries}
    ever = {e: float(users.whole[e]) for e in entries}
    total_now, total_ever = sum(now.values()) or 1.0, sum(ever.values()) or 1.0
    says = {
        s: {e: value(side, s, users.item[e], item) for e in entries} for s in ("ridge", "cosine", "looks")
    }
    likeness = {e: float(side.attributes[users.item[e]] @ side.attributes[item]) for e in entries}
    dot = float(users.factors[user] @ side.factors[item])
    standing = dict(
        zip(("popularity", "trend", "freshness", "new"), map(float, side.standing[item]), strict=True)
    )
    return {
        "als": 0.0 if side.is_new[item] else dot,
        "new_als": dot if side.is_new[item] else 0.0,
        "ridge_recent": sum(now[e] * says["ridge"][e] for e in entries),
        "ridge_whole": sum(ever[e] * says["ridge"][e] for e in entries),
        "cosine_recent": sum(now[e] * says["cosine"][e] for e in entries),
        "looks_recent": sum(now[e] * says["looks"][e] for e in entries) / total_now,
        "looks_whole": sum(ever[e] * says["looks"][e] for e in entries) / total_ever,
        "looks_most": max([0.0, *(now[e] * says["looks"][e] for e in entries)]),
        "looks_most_whole": max([0.0, *(says["looks"][e] for e in entries)]),
        "attributes_recent": sum(now[e] * likeness[e] for e in entries) / total_now,
        "attributes_whole": sum(ever[e] * likeness[e] for e in entries) / total_ever,
        **standing,
    }


@settings(max_examples=40)
@given(shop=shops, wanted=limits)
def test_candidates_are_described_as_plain_python_describes_them(shop, wanted) -> None:  # type: ignore[no-untyped-def]
    _, side, _, users = made(shop)
    found = describe(users, side, wanted)
    for row, (user, item) in enumerate(zip(found.user, found.item, strict=True)):
        slow = slow_features(users, side, user, item)
        assert found.features[row] == pytest.approx([slow[name] for name in NAMES], abs=1e-5)


def best(values: dict[int, float], k: int) -> list[float]:
    return sorted((v for v in values.values() if v > 0), reverse=True)[:k]


@settings(max_examples=40)
@given(shop=shops, wanted=limits)
def test_each_source_proposes_its_best_and_nothing_seen_or_barred(shop, wanted) -> None:  # type: ignore[no-untyped-def]
    _, side, _, users = made(shop)
    found = describe(users, side, wanted)
    n = len(side)
    for user in range(len(users)):
        rows = slice(found.indptr[user], found.indptr[user + 1])
        items = found.item[rows].tolist()
        assert items == sorted(set(items))
        seen = set(users.seen[users.seen_indptr[user] : users.seen_indptr[user + 1]].tolist())
        open_to = [i for i in range(n) if side.allowed[i] and i not in seen]
        assert set(items) <= set(open_to)
        by = {
            name: {i for i, bits in zip(items, found.proposed[rows], strict=True) if bits >> bit & 1}
            for bit, name in enumerate(SOURCES)
        }
        assert set(items) == set().union(*by.values())
        popular = sorted(open_to, key=lambda i: (-side.people[i], i))[: wanted.popularity]
        assert by["popularity"] == set(popular)
        fresh = [i for i in side.by_freshness.tolist() if i in open_to][: wanted.fresh]
        assert by["fresh"] == set(fresh)
        said = {
            source: {
                i: sum(
                    float(users.recent[e]) * value(side, source, users.item[e], i)
                    for e in range(users.indptr[user], users.indptr[user + 1])
                )
                for i in open_to
            }
            for source in LISTED
        }
        for source, k in (("looks", wanted.visual), ("attributes", wanted.attributes)):
            most = best(said[source], k)
            got = by["visual" if source == "looks" else source]
            assert sorted((said[source][i] for i in got), reverse=True) == pytest.approx(most)
        # Ridge and cosine propose half each: whoever is above both bars, and nobody below both.
        k = wanted.cooccurrence
        bars = {"ridge": [*best(said["ridge"], (k + 1) // 2)], "cosine": [*best(said["cosine"], k // 2)]}
        assert len(by["cooccurrence"]) <= k
        for i in open_to:
            above = [said[s][i] - bar[-1] for s, bar in bars.items() if bar]
            if i in by["cooccurrence"]:
                assert max(above) > -1e-5
            else:
                assert max(above, default=-1.0) < 1e-5
        if users.has_factors[user]:
            for name, new in (("als", False), ("new", True)):
                able = [i for i in open_to if side.is_new[i] == new]
                dots = sorted((float(users.factors[user] @ side.factors[i]) for i in able), reverse=True)
                got = [float(users.factors[user] @ side.factors[i]) for i in by[name]]
                k = wanted.als if name == "als" else wanted.new
                assert sorted(got, reverse=True) == pytest.approx(dots[:k], abs=1e-4)
        else:
            # Nothing tells which new item they would like, and they are kept their share of them.
            able = [i for i in open_to if side.is_new[i] and side.has_factors[i]]
            dated = [i for i in side.by_freshness.tolist() if i in able]
            able = [*dated, *(i for i in able if i not in dated)]
            assert by["als"] == set() and by["new"] == set(able[: wanted.new])


def blend_of(rng: np.random.Generator, half_life: float) -> Blend:
    weights = np.where(rng.random(len(FEATURES)) < 0.3, 0.0, rng.random(len(FEATURES)))
    weights[rng.random(len(FEATURES)) < 0.2] *= -1.0  # as they may be where `learn.non_negative` is off
    nothing = np.zeros(len(FEATURES))
    return Blend(
        "learned", Settings(half_life, 10.0), weights, 0.5 + rng.random(len(FEATURES)), nothing, nothing
    )


@settings(max_examples=40)
@given(shop=shops)
@example(shop=(500, 11, 5, 1.0))  # the penalty decides which of two
def test_parts_add_up_and_no_other_item_does_more_for_a_part_than_the_named_one(shop) -> None:  # type: ignore[no-untyped-def]
    rng, side, log, users = made(shop)
    half_life = shop[3]
    blend = blend_of(rng, half_life)
    config = RecommendConfig(k=5, rerank=RerankConfig(exploration=0.0))
    offers = recommend_block(users, side, blend, config, ALS)
    lefts = {
        entry: without(users, entry, log, side, len(users), half_life, config.history)
        for entry in range(len(users.item))
    }
    every = CandidatesConfig(popularity=len(side))
    found = describe(users, side, every)
    described = {(u, i): f for u, i, f in zip(found.user, found.item, found.features, strict=True)}
    for row, (user, item) in enumerate(zip(offers.user, offers.item, strict=True)):
        exact = float(described[user, item].astype(np.float64) @ blend.raw)
        assert offers.parts[row].sum() == pytest.approx(exact, abs=1e-9)
        features = np.array([slow_features(users, side, user, item)[name] for name in NAMES])
        before = contributions(features[None, :], blend.raw)[0]
        assert offers.parts[row] == pytest.approx(before, abs=1e-4)
        entries = range(users.indptr[user], users.indptr[user + 1])
        after = {
            entry: contributions(
                np.array([[slow_features(lefts[entry], side, user, item)[name] for name in NAMES]]), blend.raw
            )[0]
            for entry in entries
        }
        for column, part in enumerate(EXPLAINED):
            entry, place = offers.cause[row, column], PARTS.index(part)
            drops = {e: before[place] - after[e][place] for e in entries}
            most = max(drops.values(), default=0.0)
            if entry < 0:
                assert offers.parts[row, place] <= 0 or most < 1e-5, part
            else:
                assert entry in entries and drops[entry] == pytest.approx(most, rel=1e-3, abs=1e-5), part
                # Factors are solved in single precision.
                assert drops[entry] > (-1e-6 if part == "cf" else 0.0), part


@given(
    shop=shops,
    diversity=st.sampled_from([0.0, 0.3, 0.9]),
    exploration=st.sampled_from([0.0, 0.25, 0.5]),
    cap=st.none() | st.integers(1, 2),
    pool=st.integers(1, 4) | st.just(100),
    k=st.integers(1, 8),
    fillers=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_a_list_is_what_the_rule_read_slowly_gives(  # type: ignore[no-untyped-def]
    shop, diversity, exploration, cap, pool, k, fillers
) -> None:
    rng, side, _, users = made(shop)
    side = only(side, group=rng.integers(0, max(len(side) // 2, 1), len(side)))
    found = describe(users, side, CandidatesConfig())
    score = np.round(rng.random(len(found.item)), 1)
    late = rng.random(len(found.item)) < fillers
    config = RerankConfig(diversity=diversity, exploration=exploration, max_per_category=cap, pool=pool)
    chosen = rerank(found.indptr, found.item, score, side, config, k, late)
    for user in range(len(users)):
        rows = list(range(found.indptr[user], found.indptr[user + 1]))
        rows.sort(key=lambda r: (late[r], -score[r], found.item[r]))
        got = [r for r in chosen[user].tolist() if r >= 0]
        for place in range(len(got) + 1):
            able = _able(side, found.item, got[:place], rows, cap, exploration, late)
            if place == len(got):
                assert place == k or not able
                break
            pooled = [r for r in rows if not late[r]][:pool]
            near = [r for r in able if r in pooled]
            if diversity == 0 or not near:  # outside the pool the score alone counts
                assert got[place] == [*near, *able][0]
            else:
                worth = _worth(side, found.item, score, pooled, got[:place], diversity)
                assert got[place] in near
                assert worth[got[place]] == pytest.approx(max(worth[r] for r in near), abs=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_refused(bad: float) -> None:
    side = random_side(np.random.default_rng(3), 8)
    indptr, item = np.array([0, 3, 5]), np.array([0, 1, 2, 0, 1], dtype=np.int32)
    with pytest.raises(TableError, match="no finite number"):
        rerank(indptr, item, np.array([1.0, bad, 0.5, 5.0, 6.0]), side, RerankConfig(), 3)


def _able(side, item, held, rows, cap, exploration, late):  # type: ignore[no-untyped-def]
    """The candidates that may stand next in a list that holds `held`."""
    groups = [side.group[item[r]] for r in held]
    categories = [side.category[item[r]] for r in held]
    able = [r for r in rows if r not in held and side.group[item[r]] not in groups]
    if cap is not None:
        able = [
            r for r in able if side.category[item[r]] < 0 or categories.count(side.category[item[r]]) < cap
        ]
    news = [r for r in able if side.is_new[item[r]]]
    news = [r for r in news if not late[r]]
    missing = sum(bool(side.is_new[item[r]]) for r in held) < int(exploration * (len(held) + 1) + 1e-9)
    return news if missing and news else able


def _worth(side, item, score, rows, held, diversity):  # type: ignore[no-untyped-def]
    low, span = score[rows[-1]], score[rows[0]] - score[rows[-1]]
    span = span if span > 0 else 1.0
    alike = {r: max([0.0, *(float(side.looks[item[h]] @ side.looks[item[r]]) for h in held)]) for r in rows}
    return {r: (1 - diversity) * (score[r] - low) / span - diversity * alike[r] for r in rows}


def test_a_user_without_history_gets_what_is_popular() -> None:
    rng = np.random.default_rng(3)
    side = random_side(rng, 8)
    nothing = tuple(np.zeros(0, dtype=kind) for kind in (np.int64, np.int64, np.float64, np.float64))
    users = users_with(side, 1, nothing, 3.0)
    weights = np.zeros(len(FEATURES))
    weights[[at("als"), at("popularity")]] = 1.0
    blend = Blend("learned", Settings(), weights, np.ones(len(FEATURES)), weights, weights)
    offers = recommend_block(users, side, blend, RecommendConfig(k=20), ALS)
    expected = sorted(np.flatnonzero(side.allowed), key=lambda i: (-side.people[i], i))
    assert offers.item.tolist() == expected
    assert set(offers.source.tolist()) == {PARTS.index("popularity")}
    assert (offers.cause == -1).all()


@given(
    shop=shops,
    wanted=scarce,
    short=st.integers(1, 5),
    more=st.integers(1, 8),
    exploration=st.sampled_from([0.0, 0.4]),
)
def test_a_longer_list_begins_as_a_shorter_one_does(  # type: ignore[no-untyped-def]
    shop, wanted, short, more, exploration
) -> None:
    rng, side, _, users = made(shop)
    side = only(side, people=rng.permutation(side.people))  # of all users, where `standing` is of a sample
    blend = blend_of(rng, shop[3])
    rerank = RerankConfig(diversity=0.3, pool=3, exploration=exploration)
    by_k = [
        recommend_block(users, side, blend, RecommendConfig(k=k, candidates=wanted, rerank=rerank), ALS)
        for k in (short, short + more)
    ]
    for user in range(len(users)):
        first, second = (offers.item[offers.user == user].tolist() for offers in by_k)
        assert first == second[:short]


def test_who_has_done_nothing_gets_what_is_popular_in_their_segment() -> None:
    side = only(random_side(np.random.default_rng(5), 9), allowed=np.ones(9, dtype=bool))
    standing = np.stack(
        [np.column_stack([np.arange(9), np.zeros(9)]), np.column_stack([-np.arange(9), np.ones(9)])]
    )
    names = np.array(["north", "south"], dtype=object)
    side = only(side, segments=Segments(names, standing.astype(np.float32)))
    factors, has = np.zeros((4, ALS.rank), dtype=np.float32), np.zeros(4, dtype=bool)
    met = (np.array([3]), np.array([2]), np.array([1.0]), np.array([0.0]))  # the last user has done something
    users = gather_users(factors, has, *met, keep=9, half_life=3.0, segment=np.array([0, 1, -1, 0]))
    assert users.segment.tolist() == [0, 1, -1, -1]
    weights = np.zeros(len(FEATURES))
    weights[[at("popularity"), at("trend")]] = 1.0, 0.01
    blend = Blend("learned", Settings(), weights, np.ones(len(FEATURES)), weights, weights)
    # Two are proposed, and fillers follow: both are the group's.
    scarce_ones = CandidatesConfig(popularity=2, fresh=0, new=0)
    offers = recommend_block(users, side, blend, RecommendConfig(k=4, candidates=scarce_ones), ALS)
    lists = [offers.item[offers.user == user].tolist() for user in range(4)]
    assert lists[0] == [8, 7, 6, 5] and lists[1] == [0, 1, 2, 3]
    assert lists[2] == side.by_popularity[:4].tolist()
    assert lists[3] != lists[0]
    np.testing.assert_allclose(offers.parts[offers.user == 0].sum(axis=1), [8.0, 7.0, 6.0, 5.0])
