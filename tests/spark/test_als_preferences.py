"""Interactions to preferences, by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.als import prepare
from vizrec_spark.als.prepare import prepared
from vizrec_spark.config.models import AlsConfig, RerankConfig
from vizrec_spark.recommend.history import touched_pairs
from vizrec_spark.retrieval.preferences import outliers, preferences
from vizrec_spark.tables.schemas import INTERACTIONS

Event = tuple[str, str, str, float | None, float, int]
"""User, item, event, rating, weight, day of January."""


def interactions(spark: SparkSession, events: list[Event]) -> DataFrame:
    rows = [(u, i, e, r, w, datetime(2024, 1, day, tzinfo=UTC)) for u, i, e, r, w, day in events]
    return spark.createDataFrame(rows, INTERACTIONS.schema)


def config(kind: str, max_weight: float = 20.0, **changes: object) -> AlsConfig:
    return AlsConfig.model_validate({"preference": kind, "max_weight": max_weight, **changes})


def found(frame: DataFrame) -> dict[tuple[str, str], float]:
    rows = frame.collect()
    pairs = {(row.user_id, row.item_id): row.preference for row in rows}
    assert len(pairs) == len(rows)
    assert dict(frame.dtypes)["preference"] == "double"
    return pairs


def test_implicit_is_the_sum_of_the_weights_up_to_the_cap(spark: SparkSession) -> None:
    events: list[Event] = [
        ("u", "a", "view", None, 1.0, 1),
        ("u", "a", "view", None, 1.0, 2),
        ("u", "a", "buy", None, 5.0, 2),
        ("u", "b", "view", None, 1.0, 1),
        ("v", "a", "buy", None, 5.0, 1),
        ("v", "a", "buy", None, 5.0, 2),
    ]
    got = found(preferences(interactions(spark, events), config("implicit", 8.0)))
    assert got == {("u", "a"): 7.0, ("u", "b"): 1.0, ("v", "a"): 8.0}


def test_what_was_rated_low_is_no_preference_unless_it_was_rated_anew(spark: SparkSession) -> None:
    events: list[Event] = [
        ("u", "bad", "buy", None, 5.0, 1),
        ("u", "bad", "rating", 1.0, 0.0, 2),
        ("u", "bad", "view", None, 1.0, 9),
        ("u", "better", "rating", 1.0, 0.0, 1),
        ("u", "better", "rating", 4.0, 2.0, 2),
        ("u", "worse", "rating", 4.0, 2.0, 1),
        ("u", "worse", "rating", 1.0, 0.0, 2),
        ("v", "bad", "buy", None, 5.0, 1),
    ]
    got = found(preferences(interactions(spark, events), config("implicit", 20.0)))
    assert got == {("u", "better"): 2.0, ("v", "bad"): 5.0}
    assert found(preferences(interactions(spark, events), config("explicit", 20.0)))["u", "bad"] == 1.0


def test_explicit_is_the_latest_rating_and_knows_no_cap(spark: SparkSession) -> None:
    events: list[Event] = [
        ("u", "a", "rating", 5.0, 1.0, 3),
        ("u", "a", "rating", 2.0, 1.0, 9),
        ("u", "a", "rating", 4.0, 1.0, 5),
        ("u", "a", "view", None, 1.0, 20),
        ("u", "b", "view", None, 1.0, 1),
        ("v", "b", "rating", 9.0, 1.0, 1),
    ]
    got = found(preferences(interactions(spark, events), config("explicit", 0.5)))
    assert got == {("u", "a"): 2.0, ("v", "b"): 9.0}


def test_of_two_ratings_at_the_same_moment_the_event_decides(spark: SparkSession) -> None:
    events: list[Event] = [("u", "a", "rating", 1.0, 1.0, 3), ("u", "a", "review", 4.0, 1.0, 3)]
    for order in (events, events[::-1]):
        assert found(preferences(interactions(spark, order), config("explicit", 20.0))) == {("u", "a"): 4.0}


@pytest.mark.parametrize("kind", ["implicit", "explicit"])
def test_nothing_gives_nothing(spark: SparkSession, kind: str) -> None:
    assert found(preferences(interactions(spark, []), config(kind))) == {}


def test_the_sum_is_the_same_to_the_last_bit_in_any_order(spark: SparkSession) -> None:
    """0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 in binary; the model's fingerprint must not notice."""
    weights = [0.1, 0.2, 0.3, 0.7, 1.1, 1e-6]
    sums = set()
    for order in (weights, weights[::-1], sorted(weights)):
        events: list[Event] = [("u", "a", f"e{w}", None, w, 1) for w in order]
        frame = interactions(spark, events).coalesce(1)
        sums.add(found(preferences(frame, config("implicit", 20.0)))["u", "a"])
    assert sums == {2.400001}


def test_event_weights_replace_those_of_the_log_but_not_a_low_rating(spark: SparkSession) -> None:
    events: list[Event] = [
        ("u", "a", "view", None, 1.0, 1),
        ("u", "a", "buy", None, 5.0, 1),
        ("u", "b", "view", None, 1.0, 1),
        ("u", "c", "buy", 1.0, 0.0, 1),
        ("u", "d", "cart", None, 3.0, 1),
    ]
    chosen = config("implicit", events={"view": 0.0, "buy": 2.0})
    assert found(preferences(interactions(spark, events), chosen)) == {("u", "a"): 2.0, ("u", "d"): 3.0}
    # What stage `recommend` imitates ALS with is the same.
    touched = touched_pairs(interactions(spark, events), RerankConfig(), chosen)
    assert found(touched.where("preference > 0")) == {("u", "a"): 2.0, ("u", "d"): 3.0}


def test_an_event_a_half_life_older_counts_half(spark: SparkSession) -> None:
    events: list[Event] = [
        ("u", "a", "view", None, 4.0, 11),
        ("u", "a", "buy", None, 4.0, 1),
        ("u", "b", "view", None, 4.0, 21),
        ("v", "b", "view", None, 4.0, 16),
    ]
    got = found(preferences(interactions(spark, events), config("implicit", half_life_days=10.0)))
    assert got == pytest.approx({("u", "a"): 3.0, ("u", "b"): 4.0, ("v", "b"): 4.0 * 2**-0.5})


def test_an_event_of_a_thousand_half_lives_ago_is_more_than_nothing(spark: SparkSession) -> None:
    events: list[Event] = [("u", "old", "view", None, 4.0, 1), ("u", "new", "view", None, 4.0, 11)]
    got = found(preferences(interactions(spark, events), config("implicit", half_life_days=0.01)))
    assert got == pytest.approx({("u", "old"): 1e-12, ("u", "new"): 4.0}, rel=1e-6)


def test_who_acts_far_more_than_others_is_left_out(spark: SparkSession) -> None:
    events: list[Event] = [
        (f"u{n}", f"i{j}", "view", None, 1.0, 1) for n in range(8) for j in range(2 + n % 3)
    ]
    events += [("bot", f"i{j}", "view", None, 1.0, 1) for j in range(200)]
    frame = interactions(spark, events)
    # The others have 2 to 4 events: the quartiles of ln are about 0.7 and 1.4, the fence at 3 is at some 30 events.
    assert [tuple(row) for row in outliers(frame, 3.0).collect()] == [("bot", 200)]
    assert outliers(frame, 30.0).count() == 0
    got = found(preferences(frame, config("implicit", outlier_fence=3.0)))
    assert len(got) == len(events) - 200 and all(user != "bot" for user, _ in got)


def test_where_nearly_all_act_once_those_who_act_more_stay(spark: SparkSession) -> None:
    """Three of four users have one event: the quartiles are equal, and a bare fence would take everybody else."""
    events: list[Event] = [(f"u{n}", "a", "view", None, 1.0, 1) for n in range(40)]
    events += [("keen", f"i{j}", "view", None, 1.0, 1) for j in range(7)]
    events += [("bot", f"i{j}", "view", None, 1.0, 1) for j in range(9)]
    assert [row.user_id for row in outliers(interactions(spark, events), 3.0).collect()] == [
        "bot"
    ]  # above 2³


def test_neither_a_bot_nor_a_clock_that_runs_ahead_makes_the_rest_old(spark: SparkSession) -> None:
    events: list[Event] = [(f"u{n}", f"i{j}", "view", None, 4.0, 11) for n in range(8) for j in range(200)]
    events += [("u0", "future", "view", None, 4.0, 31), ("u0", "old", "view", None, 4.0, 1)]
    events += [("bot", f"i{j}", "view", None, 1.0, 25) for j in range(5000)]
    chosen = config("implicit", half_life_days=10.0, outlier_fence=3.0)
    got = found(preferences(interactions(spark, events), chosen))
    assert (got["u0", "future"], got["u1", "i0"], got["u0", "old"]) == (4.0, 4.0, 2.0)


def test_the_core_has_enough_of_both_and_what_fell_is_told(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three users with the same three items are a core; a chain hung on it falls link by link."""
    core = {(u, i) for u in "abc" for i in "xyz"}
    chain = {("a", "1"), ("d", "1"), ("d", "2"), ("e", "2"), ("e", "3")}
    events: list[Event] = [(u, i, "view", None, 1.0, 1) for u, i in core | chain]
    frame = interactions(spark, events)
    with prepared(frame, config("implicit", min_user_items=2, min_item_users=2)) as ready:
        assert {(row.user_id, row.item_id) for row in ready.frame.collect()} == core
        assert ready.size == 9
        assert "left out 5 of 14 preferences" in ready.left_out[0]
    monkeypatch.setattr(prepare, "_MOST_ROUNDS", 2)
    monkeypatch.setattr(prepare, "_CUT", 1)
    with prepared(frame, config("implicit", min_user_items=2, min_item_users=2)) as ready:
        assert ready.size == 11  # the first round takes (e, 3), the second (e, 2) and (d, 2)
        assert "stopped" in ready.left_out[0]
    with prepared(frame, config("implicit")) as ready:
        assert (ready.size, ready.left_out) == (14, [])
    with prepared(frame, config("implicit", min_item_users=9)) as ready:
        assert ready.size == 0
