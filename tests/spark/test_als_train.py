"""MLlib's ALS on a checkerboard that one can solve by hand, and its factors under the shop's own ids."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.als.train import chosen_blocks, linear_algebra, train_als, under_own_ids
from vizrec_spark.config.models import AlsConfig
from vizrec_spark.errors import SessionError, TableError
from vizrec_spark.tables.schemas import ID_MAP

N, GROUP = 16, 8
Kind = Literal["implicit", "explicit"]
Learned = dict[Kind, tuple[np.ndarray, np.ndarray]]


def config(kind: Kind, **changes: object) -> AlsConfig:
    chosen = {"rank": 3, "iterations": 8, "regularization": 0.02, "blocks": 2, **changes}
    return AlsConfig.model_validate({"preference": kind, **chosen})


def checkerboard(spark: SparkSession, kind: Kind) -> DataFrame:
    """Users and items of two groups; user u likes the items of the own group and has not met item u yet.

    Explicit ratings are 5 inside the group and 1 outside, where every third cell is open too.
    """
    cells = []
    for user in range(N):
        for item in range(N):
            own = user // GROUP == item // GROUP
            if own and item != user:
                cells.append((user, item, 5.0 if kind == "explicit" else 1.0))
            elif not own and kind == "explicit" and (user + item) % 3:
                cells.append((user, item, 1.0))
    frame = spark.createDataFrame(cells, "user int, item int, preference double")
    return frame.selectExpr("user", "item", "cast(preference as float) preference")


def matrix(factors: DataFrame) -> np.ndarray:
    rows = sorted(factors.collect(), key=lambda row: row.id)
    assert [row.id for row in rows] == list(range(N))
    return np.array([row.factors for row in rows], dtype=np.float32)


@pytest.fixture(scope="module")
def learned(spark: SparkSession) -> Learned:
    """Factors of users and of items, (N, 3) each, by kind of preference."""
    kinds: tuple[Kind, ...] = ("implicit", "explicit")
    models = {kind: train_als(checkerboard(spark, kind), config(kind)) for kind in kinds}
    return {kind: (matrix(model.users), matrix(model.items)) for kind, model in models.items()}


@pytest.mark.parametrize("kind", ["implicit", "explicit"])
def test_the_held_out_cell_ranks_first(spark: SparkSession, learned: Learned, kind: Kind) -> None:
    ratings = checkerboard(spark, kind)
    users, items = learned[kind]
    assert users.shape == items.shape == (N, 3)
    score = users @ items.T
    for row in ratings.collect():
        score[row.user, row.item] = -np.inf
    assert (np.isfinite(score).sum(axis=1) > 1).all(), "there must be something to choose from"
    assert score.argmax(axis=1).tolist() == list(range(N))


def test_explicit_predicts_the_ratings_and_implicit_a_preference(
    spark: SparkSession, learned: Learned
) -> None:
    users, items = learned["explicit"]
    own = np.equal.outer(np.arange(N) // GROUP, np.arange(N) // GROUP)
    assert (users @ items.T)[own] == pytest.approx(5.0, abs=0.6)
    assert (users @ items.T)[~own] == pytest.approx(1.0, abs=0.6)
    # As many factors as groups: none is left to learn single cells.
    chosen = config("implicit", rank=2)
    users, items = (matrix(f) for f in train_als(checkerboard(spark, "implicit"), chosen)[1:])
    assert (users @ items.T)[own & ~np.eye(N, dtype=bool)] == pytest.approx(1.0, abs=0.25)
    assert (users @ items.T)[~own] == pytest.approx(0.0, abs=0.25)


def test_the_same_data_gives_the_same_factors_to_the_last_bit(spark: SparkSession, learned: Learned) -> None:
    ratings = checkerboard(spark, "implicit")
    wanted = learned["implicit"]
    for layout in (ratings.orderBy("item", "user"), ratings.repartition(7)):
        got = [matrix(f) for f in train_als(layout, config("implicit"))[1:]]
        assert all(np.array_equal(a, b) for a, b in zip(got, wanted, strict=True))


@pytest.fixture(scope="module")
def unchanged(spark: SparkSession) -> np.ndarray:
    return matrix(train_als(checkerboard(spark, "implicit"), config("implicit", iterations=2)).users)


@pytest.mark.parametrize(
    "change", [{"seed": 7}, {"alpha": 1.0}, {"regularization": 1.0}, {"iterations": 1}, {"rank": 2}]
)
def test_each_setting_reaches_the_model(
    spark: SparkSession, unchanged: np.ndarray, change: dict[str, object]
) -> None:
    chosen = config("implicit", **{"iterations": 2, **change})
    other = matrix(train_als(checkerboard(spark, "implicit"), chosen).users)
    assert other.shape != unchanged.shape or not np.allclose(other, unchanged, atol=1e-3)


@pytest.mark.parametrize("kind", ["user", "item"])
def test_factors_come_back_under_their_own_ids(spark: SparkSession, kind: str) -> None:
    rows = [("user", "ü", 0), ("user", "b", 5), ("user", "c", 6), ("item", "商", 0), ("item", "x", 5)]
    id_map = spark.createDataFrame(rows, ID_MAP.schema)
    factors = spark.createDataFrame([(0, [0.5, 1.0]), (5, [2.0, 3.0])], "id int, factors array<float>")
    got = under_own_ids(factors, id_map, kind, "als-1")
    assert got.dtypes == [("model_id", "string"), (f"{kind}_id", "string"), ("factors", "array<float>")]
    names = {"user": ["ü", "b"], "item": ["商", "x"]}[kind]
    assert sorted(map(tuple, got.collect())) == sorted(
        [("als-1", names[0], [0.5, 1.0]), ("als-1", names[1], [2.0, 3.0])]
    )


def test_without_a_checkpoint_directory_it_refuses(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(spark.sparkContext), "getCheckpointDir", lambda self: None)
    with pytest.raises(SessionError, match="setCheckpointDir"):
        train_als(checkerboard(spark, "implicit"), config("implicit"))


def test_ids_that_are_not_ints_are_refused_before_mllib_casts_them(spark: SparkSession) -> None:
    long = checkerboard(spark, "implicit").selectExpr("cast(user as long) user", "item", "preference")
    with pytest.raises(TableError, match="`user` is bigint, expected int"):
        train_als(long, config("implicit"))


def test_blocks_grow_with_the_data_alone() -> None:
    assert [chosen_blocks(n) for n in (0, 1_000_000, 1_000_001, 50_000_000)] == [2, 2, 3, 100]
    assert [chosen_blocks(n) for n in (200_000_000, 1_024_000_000, 1_024_000_001)] == [256, 256, 257]


def test_the_linear_algebra_is_named(spark: SparkSession) -> None:
    assert re.match(
        r"(a native BLAS|Java's vector instructions|plain Java, .*) \(.*BLAS.*\)$", linear_algebra(spark)
    )
