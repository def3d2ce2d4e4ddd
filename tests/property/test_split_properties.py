"""Splits: train + validation + test = input, in order of time, the same however the rows are laid out."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.errors import TooFewUsers
from vizrec_spark.evaluate.splits import (
    PART,
    TEST,
    TRAIN,
    VALIDATION,
    cold_items,
    global_time,
    known_before_test,
    leave_last_out,
    part_of,
    relevant_items,
    require_users,
    time_limits,
    user_time,
)

START = datetime(2024, 1, 1, tzinfo=UTC)
SCHEMA = "user_id string, item_id string, event string, timestamp timestamp"
Row = tuple[str, str, str, datetime]

# Few moments, so that ties are common; each key once, as in table `interactions`.
rows = st.lists(
    st.tuples(
        st.sampled_from(["u", "v", "w", "ü", "1", "2", "3", "4"]),
        st.sampled_from([f"i{n}" for n in range(12)]),
        st.sampled_from(["buy", "view"]),
        st.integers(0, 7).map(lambda hour: START + timedelta(hours=hour)),
    ),
    # The simplest example comes first: it is to be long enough to be split.
    min_size=60,
    max_size=150,
    unique=True,
)
few = settings(max_examples=2)


def frame(spark: SparkSession, log: list[Row]) -> DataFrame:
    """The rows in an order that says nothing of time, in several partitions."""
    return spark.createDataFrame(
        sorted(log, key=lambda row: zlib.crc32(repr(row).encode())), SCHEMA
    ).repartition(3)


def parts(split: DataFrame) -> dict[Row, str]:
    """The part of each row; fails when a row comes twice."""
    found = [(tuple(r[:4]), r[PART]) for r in split.collect()]
    # Spark hands out local times.
    found = [((u, i, e, t.astimezone(UTC)), part) for (u, i, e, t), part in found]
    assert max(Counter(row for row, _ in found).values()) == 1
    return dict(found)


def by_user(log: list[Row]) -> dict[str, list[Row]]:
    users: dict[str, list[Row]] = {}
    for row in sorted(log, key=lambda r: (r[3], r[1], r[2])):
        users.setdefault(row[0], []).append(row)
    return users


@pytest.mark.parametrize("how", [(0.2, 0.1, 5), (0.5, 0.5 - 1e-9, 1), (0.3, 0.0, 2)])
@few
@given(log=rows)
def test_user_time(spark: SparkSession, how: tuple[float, float, int], log: list[Row]) -> None:
    test_share, validation_share, least = how
    wanted: dict[Row, str] = {}
    for own in by_user(log).values():
        n = len(own)
        n_test = min(math.ceil(Fraction(str(test_share)) * n), n - 1)
        n_validation = min(math.ceil(Fraction(str(round(validation_share, 6))) * n), n - 1 - n_test)
        if n < least:
            n_test = n_validation = 0
        for place, row in enumerate(own):
            left = n - place
            wanted[row] = TEST if left <= n_test else VALIDATION if left <= n_test + n_validation else TRAIN
    how_to = {"test_share": test_share, "validation_share": validation_share, "min_interactions": least}
    assert parts(user_time(frame(spark, log), **how_to)) == wanted


@few
@given(rows)
def test_leave_last_out(spark: SparkSession, log: list[Row]) -> None:
    wanted: dict[Row, str] = dict.fromkeys(log, TRAIN)
    for own in by_user(log).values():
        if len(own) >= 3:
            wanted[own[-1]], wanted[own[-2]] = TEST, VALIDATION
    assert parts(leave_last_out(frame(spark, log))) == wanted


@few
@given(rows, st.integers(0, 3), st.integers(3, 8))
def test_global_time(spark: SparkSession, log: list[Row], first: int, second: int) -> None:
    limits = {
        "validation_from": START + timedelta(hours=first),
        "test_from": START + timedelta(hours=second),
    }
    found = parts(global_time(frame(spark, log), **limits))
    assert found == {
        row: TRAIN
        if row[3] < limits["validation_from"]
        else VALIDATION
        if row[3] < limits["test_from"]
        else TEST
        for row in log
    }


def test_time_limits_cut_the_shares(spark: SparkSession) -> None:
    log = [("u", f"i{n}", "view", START + timedelta(minutes=n)) for n in range(100)]
    limits = time_limits(frame(spark, log), test_share=0.2, validation_share=0.1).collect()[0]
    moments = {name: limits[name].astimezone(UTC) for name in ("validation_from", "test_from")}
    count = Counter(parts(global_time(frame(spark, log), **moments)).values())
    assert count == {TRAIN: 70, VALIDATION: 10, TEST: 20}


@pytest.mark.parametrize(("share", "validation"), [(0.1, 0.0), (0.34, 0.2), (0.9, 0.05)])
@settings(max_examples=1)
@given(log=rows, seed=st.integers(0, 5))
def test_cold_items(spark: SparkSession, share: float, validation: float, log: list[Row], seed: int) -> None:
    how = {"share": share, "validation_share": validation, "seed": seed}
    found = parts(cold_items(frame(spark, log), **how))
    assert found.keys() == set(log)
    of_item: dict[str, set[str]] = {}
    for row, part in found.items():
        of_item.setdefault(row[1], set()).add(part)
    assert all(len(p) == 1 for p in of_item.values()), "an item lies in two parts"
    n = len(of_item)
    n_test = min(max(1, math.floor(share * n + 0.5)), n - 1)
    n_validation = min(math.floor(validation * n + 0.5), n - 1 - n_test)
    count = Counter(part for (part,) in of_item.values())
    assert (count[TEST], count[VALIDATION], count[TRAIN]) == (n_test, n_validation, n - n_test - n_validation)
    again = cold_items(spark.createDataFrame(log, SCHEMA), **how)
    assert parts(again) == found, "the draw depends on the layout of the rows"


def test_some_item_is_left_to_learn_from_whatever_the_share(spark: SparkSession) -> None:
    two = parts(cold_items(frame(spark, [("u", i, "view", START) for i in "ab"]), share=0.9))
    assert sorted(two.values()) == [TEST, TRAIN]
    one = parts(cold_items(frame(spark, [("u", "a", "view", START)]), share=0.9, validation_share=0.05))
    assert list(one.values()) == [TRAIN]


def test_another_seed_makes_other_items_cold(spark: SparkSession) -> None:
    log = frame(spark, [("u", f"i{n}", "view", START) for n in range(50)])
    drawn = [
        {r.item_id for r in part_of(cold_items(log, share=0.2, seed=seed), TEST).collect()} for seed in (1, 2)
    ]
    assert drawn[0] != drawn[1] and len(drawn[0]) == len(drawn[1]) == 10


def test_what_is_known_is_not_to_be_found_again(spark: SparkSession) -> None:
    split = spark.createDataFrame(
        [
            ("u", "a", TRAIN),
            ("u", "a", TEST),
            ("u", "b", TEST),
            ("u", "b", TEST),
            ("v", "a", TEST),
            ("v", "c", VALIDATION),
        ],
        f"user_id string, item_id string, {PART} string",
    )
    assert sorted(map(tuple, relevant_items(split).collect())) == [("u", "b"), ("v", "a")]
    assert known_before_test(split).columns == ["user_id", "item_id"]
    assert known_before_test(split).count() == 2


def test_what_was_rated_low_is_met_but_not_liked(spark: SparkSession) -> None:
    rows = [
        ("u", "a", "rating", 1.0, 0.0, START, TEST),
        ("u", "b", "rating", 5.0, 1.0, START, TEST),
        ("u", "c", "view", None, 1.0, START, TEST),
        ("u", "d", "view", None, 1.0, START, TRAIN),
    ]
    schema = "user_id string, item_id string, event string, rating double, weight double, timestamp timestamp"
    split = spark.createDataFrame(rows, f"{schema}, {PART} string")
    assert sorted(r.item_id for r in relevant_items(split).collect()) == ["a", "b", "c"]
    assert sorted(r.item_id for r in relevant_items(split, liked=True).collect()) == ["b", "c"]


def test_too_few_users_is_an_error_that_says_so(spark: SparkSession) -> None:
    split = user_time(frame(spark, [(u, f"i{n}", "view", START) for u in "uv" for n in range(6)]))
    relevant = relevant_items(split)
    assert require_users(relevant, 2, "user_time") == 2
    with pytest.raises(TooFewUsers, match=r"'user_time' leaves 2 users .* at least 3 .* evaluate\.min_users"):
        require_users(relevant, 3, "user_time")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda log: user_time(log, test_share=0.7, validation_share=0.4),
        lambda log: leave_last_out(log, min_interactions=2),
        lambda log: cold_items(log, share=1.0),
        lambda log: cold_items(log, share=0.6, validation_share=0.4),
        lambda log: global_time(log, validation_from=START + timedelta(1), test_from=START),
    ],
)
def test_splits_that_cannot_be_meant_are_refused(spark: SparkSession, wrong: object) -> None:
    with pytest.raises(ValueError):
        wrong(frame(spark, [("u", "i", "view", START)]))  # type: ignore[operator]
