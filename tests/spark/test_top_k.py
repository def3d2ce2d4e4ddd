"""Top-k for a DataFrame against a full sort, and what is shared between processes."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.errors import TableError
from vizrec_spark.retrieval import share_factors, top_k

RANK, USERS, ITEMS = 4, 50, 31
ODD = ["", " ", "é", "e\u0301", "商品", "🧦", "Z", "a"]


def factors(spark: SparkSession, name: str, ids: list[str], values: np.ndarray) -> DataFrame:
    rows = [(i, row.tolist()) for i, row in zip(ids, values, strict=True)]
    return spark.createDataFrame(rows, f"{name} string, factors array<float>").repartition(3)


def drawn() -> tuple[list[str], np.ndarray, list[str], np.ndarray]:
    random = np.random.default_rng(4)
    users = [f"u{i}" for i in range(USERS)]
    items = ODD + [f"i{i}" for i in range(ITEMS - len(ODD))]
    # Small whole numbers: products are exact, ties are the rule.
    return (
        users,
        random.integers(-2, 3, (USERS, RANK)).astype(np.float32),
        items,
        random.integers(-2, 3, (ITEMS, RANK)).astype(np.float32),
    )


def ranked(frame: DataFrame) -> dict[str, list[tuple[str, float]]]:
    one, _, other, _ = frame.columns
    found: dict[str, list[tuple[str, float]]] = {}
    for row in sorted(frame.collect(), key=lambda row: row["rank"]):
        found.setdefault(row[one], []).append((row[other], row.score))
        assert row["rank"] == len(found[row[one]])
    return found


def sort_all(
    ids: list[str],
    values: np.ndarray,
    others: list[str],
    theirs: np.ndarray,
    out: set[tuple[str, str]],
    k: int,
) -> dict[str, list[tuple[str, float]]]:
    wanted = {}
    for one, x in zip(ids, values, strict=True):
        scores = [(o, float(x @ y)) for o, y in zip(others, theirs, strict=True) if (one, o) not in out]
        wanted[one] = sorted(scores, key=lambda entry: (-entry[1], entry[0].encode()))[:k]
    return wanted


def test_users_to_items_and_items_to_users_equal_a_full_sort(spark: SparkSession) -> None:
    users, x, items, y = drawn()
    random = np.random.default_rng(9)
    met = {(u, i) for u in users for i in items if random.random() < 0.3}
    pairs = spark.createDataFrame([*met, ("u0", "gone"), ("ghost", "a")], "user_id string, item_id string")
    offered = set(items[::2])
    may = spark.createDataFrame([(i,) for i in offered], "item_id string")
    user_factors, item_factors = factors(spark, "user_id", users, x), factors(spark, "item_id", items, y)

    shared = share_factors(item_factors, eligible=may)
    assert (shared.count, shared.rank) == (ITEMS, RANK)
    out = met | {(u, i) for u in users for i in items if i not in offered}
    got = top_k(user_factors, shared, 7, seen=pairs, block_bytes=1)  # blocks of one row
    assert ranked(got) == sort_all(users, x, items, y, out, 7)
    assert ranked(top_k(user_factors, shared, 7, seen=pairs)) == ranked(got)

    back = top_k(item_factors, share_factors(user_factors, name="user_id"), 100, names=("item_id", "user_id"))
    assert ranked(back) == sort_all(items, y, users, x, set(), 100)


def test_a_row_without_factors_gets_nothing_and_a_part_gets_its_own(spark: SparkSession) -> None:
    users, x, items, y = drawn()
    shared = share_factors(factors(spark, "item_id", items, y))
    some = factors(spark, "user_id", users[:2], x[:2])
    unknown = spark.createDataFrame([("new", None)], "user_id string, factors array<float>")
    assert ranked(top_k(some.union(unknown), shared, 3)) == sort_all(users[:2], x[:2], items, y, set(), 3)


def test_the_same_factors_share_one_file(spark: SparkSession) -> None:
    _, _, items, y = drawn()
    one = share_factors(factors(spark, "item_id", items, y))
    assert share_factors(factors(spark, "item_id", items[::-1], y[::-1])) == one
    assert share_factors(factors(spark, "item_id", items, y + 1)).file != one.file


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", [1.0]), ("a", [2.0])], "repeated"),
        ([(None, [1.0])], "null"),
        ([("a", [1.0]), ("b", [1.0, 2.0])], "equally long"),
        ([("a", [1.0, None]), ("b", [1.0, 2.0])], "finite"),
        ([("a", [float("nan")])], "finite"),
        ([("a", None)], "null"),
    ],
)
def test_factors_that_cannot_be_shared_are_named(
    spark: SparkSession, rows: list[tuple[str | None, list[float]]], message: str
) -> None:
    with pytest.raises(TableError, match=message):
        share_factors(spark.createDataFrame(rows, "item_id string, factors array<float>"))


def test_what_cannot_be_asked_is_named(spark: SparkSession) -> None:
    users, x, items, y = drawn()
    shared = share_factors(factors(spark, "item_id", items, y))
    some = factors(spark, "user_id", users[:2], x[:2])
    with pytest.raises(ValueError, match="at least 1"):
        top_k(some, shared, 0)
    with pytest.raises(TableError, match="item_id not among"):
        top_k(some, shared, 1, seen=some)
    with pytest.raises(TableError, match="name not among"):
        share_factors(some, name="name")
    met = spark.createDataFrame([("u0", "a")], "user_id string, item_id string")
    for wrong, message in (
        (factors(spark, "user_id", users[:2], x[:2, :3]), f"expected {RANK} numbers"),
        (factors(spark, "user_id", users[:2], x[:2] * np.nan), "expected finite numbers"),
        (some.union(some), "each user_id once"),
    ):
        with pytest.raises(Exception, match=message):
            top_k(wrong, shared, 1, seen=met).collect()
