"""What every recommender promises, on a checkerboard that one can solve by hand.

Users and items fall into two groups of four. Each user has met all items of the own group but one, item u for user u,
so that one is the best that can be offered to them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.als import AlsRecommender
from vizrec_spark.baselines import ItemCosine, Popularity, TableRecommender
from vizrec_spark.config.models import AlsConfig
from vizrec_spark.errors import TableError
from vizrec_spark.recommender import Recommender
from vizrec_spark.tables.schemas import INTERACTIONS

N = 8
MADE: dict[str, Callable[[SparkSession], Recommender]] = {
    "als": lambda spark: AlsRecommender(AlsConfig(rank=2, iterations=8, regularization=0.02, alpha=5.0)),
    "popularity": lambda spark: Popularity(),
    "recent": lambda spark: Popularity(days=2.0),
    "cosine": lambda spark: ItemCosine(),
    "table": lambda spark: TableRecommender(
        spark.createDataFrame(
            [(f"u{u}", f"i{i}", 1.0 if u == i else 0.5) for u in range(N) for i in range(N)],
            "user_id string, item_id string, score double",
        )
    ),
}
PERSONAL = {"als", "cosine", "table"}
Lists = dict[str, list[tuple[int, str, float]]]


def checkerboard(spark: SparkSession) -> DataFrame:
    """Interactions of u0 to u7; u8 has met every item, u9 none. The lower group acts on the last day."""
    pairs = [(u, i) for u in range(N) for i in range(N) if u // 4 == i // 4 and u != i]
    pairs += [(8, i) for i in range(N)]
    rows = [
        (f"u{u}", f"i{i}", "view", None, 1.0, datetime(2024, 1, 20 if i < 4 else 10, tzinfo=UTC))
        for u, i in pairs
    ]
    return spark.createDataFrame(rows, INTERACTIONS.schema)


def everyone(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame([(f"u{u}",) for u in range(10)], "user_id string")


def lists(frame: DataFrame) -> Lists:
    assert frame.dtypes == [
        ("user_id", "string"),
        ("rank", "int"),
        ("item_id", "string"),
        ("score", "double"),
    ]
    found: Lists = {}
    for row in sorted(frame.collect(), key=lambda row: (row.user_id, row["rank"])):
        found.setdefault(row.user_id, []).append((row["rank"], row.item_id, row.score))
    return found


class Fitted:
    def __init__(self, name: str, spark: SparkSession) -> None:
        self.name = name
        self.recommender = MADE[name](spark).fit(checkerboard(spark))
        self.whole = lists(self.recommender.recommend(everyone(spark), 50))


@pytest.fixture(scope="module", params=list(MADE))
def fitted(request: pytest.FixtureRequest, spark: SparkSession) -> Fitted:
    return Fitted(request.param, spark)


def test_it_is_a_recommender(fitted: Fitted) -> None:
    assert isinstance(fitted.recommender, Recommender)


def test_k_larger_than_the_catalogue_gives_what_is_unseen_in_order(fitted: Fitted) -> None:
    for user, entries in fitted.whole.items():
        assert [rank for rank, _, _ in entries] == list(range(1, len(entries) + 1))
        ordered = sorted(entries, key=lambda entry: (-entry[2], entry[1]))
        assert [item for _, item, _ in entries] == [item for _, item, _ in ordered]
        number = int(user[1:])
        met = {f"i{i}" for i in range(N) if number < N and number // 4 == i // 4 and number != i}
        assert met.isdisjoint(item for _, item, _ in entries)
        assert len({item for _, item, _ in entries}) == len(entries) <= N - len(met)
    assert set(fitted.whole) >= {f"u{u}" for u in range(4)}


def test_the_open_cell_of_the_own_group_comes_first(fitted: Fitted) -> None:
    firsts = {user: entries[0][1] for user, entries in fitted.whole.items()}
    if fitted.name in PERSONAL:
        assert {user: firsts[user] for user in firsts if user < "u8"} == {f"u{u}": f"i{u}" for u in range(N)}
    if fitted.name == "popularity":  # all items have been met by four: the smaller id is first
        assert [item for _, item, _ in fitted.whole["u9"]] == [f"i{i}" for i in range(N)]
        assert {score for _, _, score in fitted.whole["u9"]} == {4.0}
        assert firsts["u1"] == "i1" and firsts["u5"] == "i0"
    if fitted.name == "cosine":
        # Each item is liked by four. Two of one group share three (two of the group and u8), two of both only u8.
        assert fitted.whole["u0"][0] == (1, "i0", pytest.approx(3 * 3 / 4))
        assert fitted.whole["u0"][1] == (2, "i4", pytest.approx(3 * 1 / 4))
    if fitted.name == "recent":  # the last two days know only the lower group
        assert [item for _, item, _ in fitted.whole["u9"]] == ["i0", "i1", "i2", "i3"]


def test_who_has_seen_everything_gets_nothing(fitted: Fitted) -> None:
    assert "u8" not in fitted.whole


def test_strangers_get_what_is_popular_or_nothing(fitted: Fitted) -> None:
    assert ("u9" in fitted.whole) == (fitted.name in {"popularity", "recent"})


def test_a_short_list_is_the_head_of_the_long_one_and_batch_equals_single(
    fitted: Fitted, spark: SparkSession
) -> None:
    two = spark.createDataFrame([("u2",), ("u9",)], "user_id string")
    for k, users in ((1, ["u2"]), (2, ["u2", "u9"])):
        asked = two.where(two.user_id.isin(users))
        wanted = {user: fitted.whole[user][:k] for user in users if user in fitted.whole}
        assert lists(fitted.recommender.recommend(asked, k)) == wanted


def test_save_and_load_recommend_the_same(fitted: Fitted, spark: SparkSession, tmp_path: Path) -> None:
    place = str(tmp_path / "kept")
    if fitted.name == "table":
        fitted.recommender.save(place)  # the next one takes its place
    fitted.recommender.save(place)
    back = type(fitted.recommender).load(spark, place)
    assert lists(back.recommend(everyone(spark), 50)) == fitted.whole
    other = Popularity if fitted.name == "cosine" else ItemCosine
    with pytest.raises(TableError, match="expected a"):
        other.load(spark, place)
    with pytest.raises(TableError, match="No recommender is saved"):
        type(fitted.recommender).load(spark, str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", ["als", "popularity", "cosine"])
def test_no_factors(name: str, spark: SparkSession) -> None:
    """Nothing to learn from is no error: nobody gets anything; without `fit` it is one."""
    empty = MADE[name](spark).fit(checkerboard(spark).limit(0))
    assert lists(empty.recommend(everyone(spark), 5)) == {}
    empty.unpersist()
    with pytest.raises(TableError, match="call fit or load first"):
        empty.recommend(everyone(spark), 5)
    with pytest.raises(TableError, match="call fit or load first"):
        MADE[name](spark).recommend(everyone(spark), 5)


def test_a_low_rating_counts_against_what_was_done_before(spark: SparkSession) -> None:
    rows = [
        (user, item, "buy", None, 5.0, datetime(2024, 1, 1, tzinfo=UTC))
        for user, item in (("u1", "a"), ("u1", "b"), ("u2", "a"), ("u2", "b"), ("u3", "a"))
    ]
    rows += [(user, "b", "rating", 1.0, 0.0, datetime(2024, 1, 2, tzinfo=UTC)) for user in ("u1", "u2")]
    log = spark.createDataFrame(rows, INTERACTIONS.schema)
    stranger = spark.createDataFrame([("u3",), ("new",)], "user_id string")
    assert lists(Popularity().fit(log).recommend(stranger, 5)) == {"new": [(1, "a", 3.0)]}
    assert lists(ItemCosine().fit(log).recommend(stranger, 5)) == {}


def test_a_table_without_its_columns_is_refused(spark: SparkSession) -> None:
    with pytest.raises(TableError, match="`score`"):
        TableRecommender(spark.createDataFrame([("u", "i")], "user_id string, item_id string"))


def test_a_table_with_ranks_keeps_their_order(spark: SparkSession) -> None:
    rows = [("u", "a", 0.1, 1), ("u", "b", 0.9, 2), ("u", "a", 0.9, 3)]
    table = spark.createDataFrame(rows, "user_id string, item_id string, score double, rank int")
    got = lists(TableRecommender(table).recommend(spark.createDataFrame([("u",)], "user_id string"), 5))
    assert got == {"u": [(1, "a", 0.1), (2, "b", 0.9)]}


@pytest.mark.parametrize("neighbors", [1, 3, 100])
def test_items_of_the_same_people_against_dense_arithmetic(spark: SparkSession, neighbors: int) -> None:
    """An item is scored by those of its own nearest that a user likes, which is not the same the other way round."""
    rng = np.random.default_rng(12)
    likes = rng.random((12, 9)) < np.linspace(0.15, 0.8, 9)
    rows = [
        (f"u{u:02d}", f"i{i}", "view", None, 1.0, datetime(2024, 1, 1, tzinfo=UTC))
        for u, i in np.argwhere(likes)
    ]
    together = likes.T.astype(float) @ likes
    people = np.diag(together)
    cosine = together / np.sqrt(np.maximum(np.outer(people, people), 1e-12))
    np.fill_diagonal(cosine, 0.0)
    nearest = np.zeros_like(cosine)
    for i, line in enumerate(cosine):
        best = sorted(np.flatnonzero(line > 0), key=lambda j: (-line[j], j))[:neighbors]
        nearest[i, best] = line[best]
    score = np.where(likes, 0.0, likes @ nearest.T)
    got = lists(
        ItemCosine(neighbors)
        .fit(spark.createDataFrame(rows, INTERACTIONS.schema))
        .recommend(everyone_of(spark, 12), 9)
    )
    for u in range(12):
        wanted = [(i, score[u, i]) for i in np.argsort(-score[u], kind="stable") if score[u, i] > 0]
        found = got.get(f"u{u:02d}", [])
        assert [item for _, item, _ in found] == [f"i{i}" for i, _ in wanted]
        assert [value for *_, value in found] == pytest.approx([value for _, value in wanted])


def everyone_of(spark: SparkSession, n: int) -> DataFrame:
    return spark.createDataFrame([(f"u{u:02d}",) for u in range(n)], "user_id string")
