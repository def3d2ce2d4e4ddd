"""The id map: contiguous, append-only, the same however the input is laid out."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.als.id_map import indexed, new_ids, require_room
from vizrec_spark.errors import TableError
from vizrec_spark.tables.schemas import ID_MAP

Known = dict[tuple[str, str], int]

_ODD = ["", " ", "a", "A", "é", "e\u0301", "商品-1", "🧦", "a|b", "0", "00", "-1"]


def ids(spark: SparkSession, wanted: list[tuple[str, str]]) -> DataFrame:
    return spark.createDataFrame(wanted, "kind string, id string")


def id_map(spark: SparkSession, known: Known) -> DataFrame:
    return spark.createDataFrame([(*key, index) for key, index in known.items()], ID_MAP.schema)


def added(frame: DataFrame) -> Known:
    ID_MAP.conform(frame)
    rows = frame.collect()
    got = {(row.kind, row.id): row["index"] for row in rows}
    assert len(got) == len(rows)
    return got


def assert_contiguous(known: Known) -> None:
    for kind in ("user", "item"):
        indices = sorted(index for (k, _), index in known.items() if k == kind)
        assert indices == list(range(len(indices)))


def test_first_ids_are_numbered_from_zero_within_their_kind(spark: SparkSession) -> None:
    wanted = [("user", i) for i in _ODD] + [("item", i) for i in _ODD[:5]]
    got = added(new_ids(ids(spark, wanted + wanted), id_map(spark, {})))
    assert got.keys() == set(wanted)
    assert_contiguous(got)


def test_new_ids_come_after_the_old_which_stay(spark: SparkSession) -> None:
    first = [("user", f"u{i}") for i in range(40)] + [("item", f"i{i}") for i in range(7)]
    known = added(new_ids(ids(spark, first), id_map(spark, {})))
    second = first[::3] + [("user", f"v{i}") for i in range(25)] + [("item", "u1"), ("item", "u2")]
    more = added(new_ids(ids(spark, second), id_map(spark, known)))
    assert more.keys() == set(second) - set(first)
    assert_contiguous(known | more)


def test_known_ids_add_nothing(spark: SparkSession) -> None:
    known = {("user", "a"): 0, ("user", "b"): 1, ("item", "a"): 0}
    assert added(new_ids(ids(spark, list(known)), id_map(spark, known))) == {}
    assert added(new_ids(ids(spark, []), id_map(spark, known))) == {}


def test_an_id_of_one_kind_is_new_to_the_other(spark: SparkSession) -> None:
    got = added(new_ids(ids(spark, [("item", "a")]), id_map(spark, {("user", "a"): 0, ("user", "b"): 1})))
    assert got == {("item", "a"): 0}


def test_numbers_do_not_depend_on_order_or_partitions(spark: SparkSession) -> None:
    wanted = [("user", f"u{i}") for i in range(300)] + [("item", f"i{i}") for i in range(90)]
    known = {("user", "u7"): 0, ("user", "gone"): 1}
    random = np.random.default_rng(3)
    maps = []
    for parts in (1, 5, 11):
        mixed = [wanted[j] for j in random.permutation(len(wanted))]
        maps.append(added(new_ids(ids(spark, mixed).repartition(parts), id_map(spark, known))))
    assert maps[0] == maps[1] == maps[2]
    assert len(maps[0]) == 389


def test_numbers_reach_the_end_of_an_int_and_never_wrap(spark: SparkSession) -> None:
    nearly_full = {("user", "old"): 2**31 - 2}
    got = added(new_ids(ids(spark, [("user", "new")]), id_map(spark, nearly_full)))
    assert got == {("user", "new"): 2**31 - 1}
    with pytest.raises(Exception, match="OVERFLOW"):
        new_ids(ids(spark, [("user", "new"), ("user", "newer")]), id_map(spark, nearly_full)).collect()


def test_preferences_are_translated_by_kind(spark: SparkSession) -> None:
    known = {("user", "a"): 4, ("user", "é"): 1, ("item", "a"): 7, ("item", "b"): 0}
    wanted = spark.createDataFrame(
        [("a", "a", 2.0), ("é", "a", 0.5), ("a", "b", 1.0)],
        "user_id string, item_id string, preference double",
    )
    got = indexed(wanted, id_map(spark, known))
    assert got.dtypes == [("user", "int"), ("item", "int"), ("preference", "float")]
    assert sorted(map(tuple, got.collect())) == [(1, 7, 0.5), (4, 0, 1.0), (4, 7, 2.0)]


def test_room_is_asked_for_before_ids_are_numbered(spark: SparkSession) -> None:
    nearly_full = id_map(spark, {("user", "old"): 2**31 - 2})
    require_room(ids(spark, [("user", "new"), ("user", "old"), ("item", "a")]), nearly_full)
    with pytest.raises(TableError, match=r"2,147,483,647 user ids and 2 new ones.*2,147,483,648"):
        require_room(ids(spark, [("user", "new"), ("user", "newer")]), nearly_full)
