"""Interactions to preferences, by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.als.preferences import preferences
from vizrec_spark.tables.schemas import INTERACTIONS

Event = tuple[str, str, str, float | None, float, int]
"""User, item, event, rating, weight, day of January."""


def interactions(spark: SparkSession, events: list[Event]) -> DataFrame:
    rows = [(u, i, e, r, w, datetime(2024, 1, day, tzinfo=UTC)) for u, i, e, r, w, day in events]
    return spark.createDataFrame(rows, INTERACTIONS.schema)


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
    got = found(preferences(interactions(spark, events), "implicit", 8.0))
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
    got = found(preferences(interactions(spark, events), "implicit", 20.0))
    assert got == {("u", "better"): 2.0, ("v", "bad"): 5.0}
    assert found(preferences(interactions(spark, events), "explicit", 20.0))["u", "bad"] == 1.0


def test_explicit_is_the_latest_rating_and_knows_no_cap(spark: SparkSession) -> None:
    events: list[Event] = [
        ("u", "a", "rating", 5.0, 1.0, 3),
        ("u", "a", "rating", 2.0, 1.0, 9),
        ("u", "a", "rating", 4.0, 1.0, 5),
        ("u", "a", "view", None, 1.0, 20),
        ("u", "b", "view", None, 1.0, 1),
        ("v", "b", "rating", 9.0, 1.0, 1),
    ]
    got = found(preferences(interactions(spark, events), "explicit", 0.5))
    assert got == {("u", "a"): 2.0, ("v", "b"): 9.0}


def test_of_two_ratings_at_the_same_moment_the_event_decides(spark: SparkSession) -> None:
    events: list[Event] = [("u", "a", "rating", 1.0, 1.0, 3), ("u", "a", "review", 4.0, 1.0, 3)]
    for order in (events, events[::-1]):
        assert found(preferences(interactions(spark, order), "explicit", 20.0)) == {("u", "a"): 4.0}


@pytest.mark.parametrize("kind", ["implicit", "explicit"])
def test_nothing_gives_nothing(spark: SparkSession, kind: str) -> None:
    assert found(preferences(interactions(spark, []), kind, 20.0)) == {}  # type: ignore[arg-type]


def test_the_sum_is_the_same_to_the_last_bit_in_any_order(spark: SparkSession) -> None:
    """0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 in binary; the model's fingerprint must not notice."""
    weights = [0.1, 0.2, 0.3, 0.7, 1.1, 1e-6]
    sums = set()
    for order in (weights, weights[::-1], sorted(weights)):
        events: list[Event] = [("u", "a", f"e{w}", None, w, 1) for w in order]
        frame = interactions(spark, events).coalesce(1)
        sums.add(found(preferences(frame, "implicit", 20.0))["u", "a"])
    assert sums == {2.400001}
