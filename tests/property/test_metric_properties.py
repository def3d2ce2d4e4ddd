"""Every metric against plain Python, and the ranking metrics against trec_eval, on random lists."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from vizrec_spark.evaluate.block import Block, make_block
from vizrec_spark.evaluate.exposure import offered_items
from vizrec_spark.evaluate.facts import CLASSES, ItemFacts, build_facts
from vizrec_spark.evaluate.history import History
from vizrec_spark.evaluate.metrics import AT_K, RANKING, coverage, gini, metric_names, values_of
from vizrec_spark.evaluate.metrics.auc import auc
from vizrec_spark.evaluate.per_user import users_at_a_time
from vizrec_spark.evaluate.ragged import Ragged

N = 12
IDS = [f"i{n:02d}" for n in range(N)]
CATEGORIES = [
    [],
    ["bags"],
    ["bags", "red"],
    ["shoes"],
    ["shoes", "red"],
    ["red"],
    None,
    ["hats"],
    ["bags"],
    [],
    ["hats", "red", "bags"],
    ["shoes"],
]
PEOPLE = [9, 0, 3, 3, 7, 1, 0, 2, 5, 4, 8, 6]
USERS = 10
RNG = np.random.default_rng(3)
LOOKS = RNG.normal(size=(N, 4)).astype(np.float32) + 3
PICTURED = [n for n in range(N) if n not in (2, 7)]
CANDIDATES = [n for n in range(N) if n not in (0, 5)]


@pytest.fixture(scope="module")
def facts() -> ItemFacts:
    return build_facts(
        pa.table({"item_id": IDS[::-1], "categories": pa.array(CATEGORIES[::-1], pa.list_(pa.string()))}),
        pa.table({"item_id": IDS, "people": PEOPLE}),
        USERS,
        candidates=pa.table({"item_id": [IDS[n] for n in CANDIDATES]}),
        vectors=pa.table(
            {
                "item_id": [IDS[n] for n in PICTURED],
                "vector": pa.array([LOOKS[n].tolist() for n in PICTURED], pa.list_(pa.float32())),
            }
        ),
    )


UNKNOWN = -1


@dataclass(frozen=True)
class User:
    """A list (best first), what is to be found, and what was known.

    The list may hold what it should not: known items, unknown ones, no candidates, and items twice.
    """

    ranked: list[int]
    relevant: set[int]
    known: set[int]


@st.composite
def users(draw: st.DrawFn) -> User:
    known = draw(st.sets(st.integers(0, N - 1), max_size=5))
    rest = [n for n in CANDIDATES if n not in known]
    clean = draw(st.permutations(rest))[: draw(st.integers(0, len(rest)))]
    wild = draw(st.lists(st.integers(UNKNOWN, N - 1), max_size=6))
    ranked = draw(st.one_of(st.just(clean), st.permutations(clean + wild)))
    return User(ranked, draw(st.sets(st.sampled_from(rest), max_size=5)), known)


some_users = st.lists(users(), min_size=1, max_size=6)


def ragged(lists: list[list[int]]) -> Ragged:
    start = np.cumsum([0, *map(len, lists)])
    return Ragged(start, np.array([n for own in lists for n in own], dtype=np.int64))


def block_of(facts: ItemFacts, people: list[User]) -> Block:
    return make_block(
        facts,
        ragged([u.ranked for u in people]),
        ragged([sorted(u.relevant) for u in people]),
        History.of(facts, ragged([sorted(u.known) for u in people])),
    )


def found_at(u: User) -> list[int]:
    """Ranks, from 1, at which something relevant is found for the first time."""
    return [r for r, i in enumerate(u.ranked, 1) if i in u.relevant and i not in u.ranked[: r - 1]]


def _recall(u: User, k: int) -> float:
    return len(set(u.ranked[:k]) & u.relevant) / len(u.relevant)


def _precision(u: User, k: int) -> float:
    return len(set(u.ranked[:k]) & u.relevant) / k


def _ndcg(u: User, k: int) -> float:
    gain = sum(1 / math.log2(r + 1) for r in found_at(u) if r <= k)
    return gain / sum(1 / math.log2(r + 2) for r in range(min(k, len(u.relevant))))


def _map(u: User, k: int) -> float:
    hits = [r for r in found_at(u) if r <= k]
    return sum(n / r for n, r in enumerate(hits, 1)) / len(u.relevant)


def _mrr(u: User, k: int) -> float:
    return next((1 / r for r, i in enumerate(u.ranked[:k], 1) if i in u.relevant), 0.0)


def _hit_rate(u: User, k: int) -> float:
    return float(any(i in u.relevant for i in u.ranked[:k]))


def _novelty(u: User, k: int) -> float:
    bits = [-math.log2((PEOPLE[i] + 1) / (USERS + 1)) for i in u.ranked[:k] if i != UNKNOWN]
    return sum(bits) / len(bits) if bits else math.nan


def _diversity(u: User, k: int) -> float:
    mean = LOOKS[PICTURED].mean(axis=0)
    unit = {n: (LOOKS[n] - mean) / np.linalg.norm(LOOKS[n] - mean) for n in PICTURED}
    pairs = list(combinations([unit[i] for i in u.ranked[:k] if i in unit], 2))
    return sum(1 - float(a @ b) for a, b in pairs) / len(pairs) if pairs else math.nan


def _serendipity(u: User, k: int) -> float:
    popular = sorted((n for n in CANDIDATES if n not in u.known), key=lambda n: (-PEOPLE[n], n))[:k]
    return len((set(u.ranked[:k]) & u.relevant) - set(popular)) / k


def _miscalibration(u: User, k: int) -> float:
    def shares(items: list[int]) -> dict[str, float]:
        told: dict[str, float] = {}
        for i in items:
            for c in CATEGORIES[i] or []:
                told[c] = told.get(c, 0) + 1 / len(CATEGORIES[i] or [])
        total = sum(told.values())
        return {c: v / total for c, v in told.items()}

    p, q = shares(sorted(u.known)), shares([i for i in u.ranked[:k] if i != UNKNOWN])
    if not p or not q:
        return math.nan
    return sum(v * math.log(v / (0.99 * q.get(c, 0) + 0.01 * v)) for c, v in p.items())


ORACLES: dict[str, Callable[[User, int], float]] = {
    "recall": _recall,
    "precision": _precision,
    "ndcg": _ndcg,
    "map": _map,
    "mrr": _mrr,
    "hit_rate": _hit_rate,
    "novelty": _novelty,
    "diversity": _diversity,
    "serendipity": _serendipity,
    "miscalibration": _miscalibration,
}
NEEDS_RELEVANT = {*RANKING, "serendipity"}


def test_every_metric_has_an_oracle() -> None:
    assert ORACLES.keys() == AT_K.keys()


@pytest.mark.parametrize("name", AT_K)
@given(people=some_users, k=st.integers(1, N + 2))
def test_against_plain_python(facts: ItemFacts, name: str, people: list[User], k: int) -> None:
    found = AT_K[name](block_of(facts, people), k)
    wanted = [math.nan if name in NEEDS_RELEVANT and not u.relevant else ORACLES[name](u, k) for u in people]
    np.testing.assert_allclose(found, wanted, atol=1e-6 if name == "diversity" else 1e-12)


@given(people=some_users)
def test_auc_counts_pairs_in_order(facts: ItemFacts, people: list[User]) -> None:
    wanted = []
    for u in people:
        last = len(u.ranked)
        place = {i: r for r, i in reversed(list(enumerate(u.ranked)))}
        others = [n for n in CANDIDATES if n not in u.known | u.relevant]
        pairs = [(place.get(a, last), place.get(b, last)) for a in u.relevant for b in others]
        won = sum(1.0 if a < b else 0.5 if a == b else 0.0 for a, b in pairs)
        wanted.append(won / len(pairs) if pairs else math.nan)
    np.testing.assert_allclose(auc(block_of(facts, people)), wanted, atol=1e-12)


@given(people=some_users, k=st.sampled_from([1, 3, 5, 10]))
def test_against_trec_eval(facts: ItemFacts, people: list[User], k: int) -> None:
    # It knows lists without repetition alone.
    clean = [User([i for i in dict.fromkeys(u.ranked) if i != UNKNOWN], u.relevant, u.known) for u in people]
    judged = {str(n): u for n, u in enumerate(clean) if u.relevant and u.ranked}
    if not judged:
        return
    theirs = {
        "recall": f"recall_{k}",
        "precision": f"P_{k}",
        "ndcg": f"ndcg_cut_{k}",
        "map": f"map_cut_{k}",
        "hit_rate": f"success_{k}",
    }
    qrel = {name: {IDS[i]: 1 for i in u.relevant} for name, u in judged.items()}
    run = {name: {IDS[i]: float(-r) for r, i in enumerate(u.ranked)} for name, u in judged.items()}
    told = pytrec_eval.RelevanceEvaluator(qrel, {*theirs.values(), "recip_rank"}).evaluate(run)
    block = block_of(facts, list(judged.values()))
    for ours, measure in theirs.items():
        np.testing.assert_allclose(
            AT_K[ours](block, k), [told[name][measure] for name in judged], atol=1e-6, err_msg=ours
        )
    np.testing.assert_allclose(
        AT_K["mrr"](block, N), [told[name]["recip_rank"] for name in judged], atol=1e-6
    )


@given(people=some_users)
def test_all_values_are_named_and_in_range(facts: ItemFacts, people: list[User]) -> None:
    block = block_of(facts, people)
    values, names = values_of(block, (2, 5)), metric_names((2, 5))
    assert values.shape == (len(people), len(names))
    assert (block.candidates >= block.offered.sum(axis=1)).all()
    for name, column in zip(names, values.T, strict=True):
        top = {"novelty": 4.0, "diversity": 2.0, "miscalibration": math.log(100) + 1e-9}.get(
            name.split("@")[0], 1.0
        )
        seen = column[~np.isnan(column)]
        assert ((seen >= -1e-9) & (seen <= top + 1e-6)).all(), name


@given(people=some_users)
def test_items_of_a_class_are_found_on_their_own(facts: ItemFacts, people: list[User]) -> None:
    relevant = ragged([sorted(u.relevant) for u in people])
    for code in range(len(CLASSES)):
        inside = {n for n in range(N) if facts.klass[n] == code}
        found = AT_K["recall"](
            block_of(facts, people).among(facts.klass == code, facts.klass[relevant.item] == code, relevant),
            4,
        )
        wanted = [
            len(set(u.ranked[:4]) & u.relevant & inside) / len(u.relevant & inside)
            if u.relevant & inside
            else math.nan
            for u in people
        ]
        np.testing.assert_allclose(found, wanted)


def test_classes_hold_a_third_of_what_was_done_each(facts: ItemFacts) -> None:
    by_class = {
        name: [PEOPLE[n] for n in range(N) if facts.klass[n] == code] for code, name in enumerate(CLASSES)
    }
    assert by_class["cold"] == [0, 0]
    assert sorted(by_class["head"], reverse=True) == [9, 8]  # 17 of 48, the first to reach a third
    assert (
        min(by_class["head"]) >= max(by_class["middle"]) >= min(by_class["middle"]) >= max(by_class["tail"])
    )


def test_an_item_twice_in_a_list_is_found_once(facts: ItemFacts) -> None:
    block = block_of(facts, [User([4, 4, -1, 8, 0, 9], {4, 8}, {9})])
    assert block.hits.tolist() == [[True, False, False, True, False, False]]
    assert block.offered.tolist() == block.hits.tolist(), "no candidates and known items are not offered"


def test_what_is_no_candidate_is_not_covered(facts: ItemFacts) -> None:
    told = offered_items(facts, pd.Series(["i01", "i05", "nowhere", None, "i11"]))
    assert told.tolist() == [True, False, False, False, True]


def test_a_block_grows_smaller_with_the_lists_and_with_the_looks(facts: ItemFacts) -> None:
    assert users_at_a_time(100, 2, facts) > 4 * users_at_a_time(1000, 2, facts) > 4
    wide = replace(facts, looks=np.zeros((1, 100_000), dtype=np.float32))
    assert users_at_a_time(10, 2, wide) < 50 < users_at_a_time(10, 2, facts)


def test_the_looks_of_some_items_are_centred_by_the_mean_of_all(facts: ItemFacts) -> None:
    mean = LOOKS[PICTURED].mean(axis=0, dtype=np.float64)
    some = pa.table(
        {"item_id": [IDS[3]] * 2 + [IDS[8]], "vector": [LOOKS[3].tolist()] * 2 + [LOOKS[8].tolist()]}
    )
    alone = build_facts(
        pa.table({"item_id": IDS}),
        pa.table({"item_id": IDS, "people": PEOPLE}),
        USERS,
        vectors=some,
        mean=mean,
    )
    assert alone.looks is not None and facts.looks is not None
    assert alone.look.tolist() == [0 if n == 3 else 1 if n == 8 else -1 for n in range(N)]
    np.testing.assert_allclose(alone.looks, facts.looks[facts.look[[3, 8]]], atol=1e-6)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_gini_and_coverage_of_exposures(exposures: list[int]) -> None:
    shown = np.array([x for x in exposures if x], dtype=np.int64)
    n, total = len(exposures), sum(exposures)
    assert coverage(shown, n) == sum(x > 0 for x in exposures) / n
    if total:
        apart = sum(abs(a - b) for a in exposures for b in exposures)
        assert gini(shown, n) == pytest.approx(apart / (2 * n * total))
    else:
        assert math.isnan(gini(shown, n))
