"""Folding in gives what MLlib solves for the same rows; the loss is the one that MLlib lowers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.als.loss import Sample, convergence, loss, model_loss, sampled
from vizrec_spark.als.train import Trained, train_als
from vizrec_spark.config.models import AlsConfig
from vizrec_spark.retrieval import share_factors
from vizrec_spark.retrieval.fold_in import fold_in

USERS, ITEMS = 60, 25


def history(spark: SparkSession, kind: str) -> DataFrame:
    """Random preferences of mixed weight; implicit ones include "not liked" (below 0)."""
    random = np.random.default_rng(8)
    rows = [
        (u, i, float(random.choice([0.5, 1.0, 3.0, 20.0, *([-1.0] if kind == "implicit" else [])])))
        for u in range(USERS)
        for i in range(ITEMS)
        if random.random() < 0.05 + 0.3 * (u % 3 == i % 3)
    ]
    return spark.createDataFrame(rows, "user int, item int, preference float")


def under_names(frame: DataFrame, *renamed: tuple[str, str]) -> DataFrame:
    for old, new in renamed:
        frame = frame.withColumn(new, frame[old].cast("string")).drop(old)
    return frame


class Case:
    def __init__(self, spark: SparkSession, kind: str) -> None:
        self.config = AlsConfig.model_validate(
            {"preference": kind, "rank": 6, "iterations": 12, "regularization": 0.1, "blocks": 2}
        )
        indexed = history(spark, kind)
        self.model: Trained = train_als(indexed, self.config)
        self.preferences = under_names(indexed, ("user", "user_id"), ("item", "item_id")).persist()
        self.users = under_names(self.model.users, ("id", "user_id")).persist()
        self.items = under_names(self.model.items, ("id", "item_id")).persist()


@pytest.fixture(scope="module", params=["implicit", "explicit"])
def case(request: pytest.FixtureRequest, spark: SparkSession) -> Case:
    return Case(spark, request.param)


def rows(frame: DataFrame, name: str) -> dict[str, np.ndarray]:
    return {row[name]: np.array(row.factors) for row in frame.collect()}


def test_it_equals_what_mllib_solves_for_the_same_rows(case: Case) -> None:
    """MLlib solves users last, against the items that it returns."""
    shared = share_factors(case.items.select("item_id", "factors"))
    got = rows(fold_in(case.preferences, shared, case.config), "user_id")
    wanted = rows(case.users, "user_id")
    assert len(wanted) == USERS
    # MLlib has zeros for a user without a positive preference, folding in has no row.
    assert got.keys() == {user for user, factors in wanted.items() if factors.any()}
    assert max(np.abs(got[user] - wanted[user]).max() for user in got) < 1e-4
    assert max(np.abs(factors).max() for factors in wanted.values()) > 0.3


def test_unknown_items_are_ignored_and_one_user_is_like_many(case: Case) -> None:
    shared = share_factors(case.items.select("item_id", "factors"))
    together = rows(fold_in(case.preferences, shared, case.config), "user_id")
    spark = case.preferences.sparkSession
    more = spark.createDataFrame(
        [("3", "gone", 9.0), ("new", "gone", 1.0)], "user_id string, item_id string, p float"
    )
    alone = case.preferences.where("user_id = '3'").unionByName(more.withColumnRenamed("p", "preference"))
    got = rows(fold_in(alone, shared, case.config), "user_id")
    assert got.keys() == {"3"}
    np.testing.assert_array_equal(got["3"], together["3"])


def test_an_item_is_folded_in_against_users(case: Case) -> None:
    shared = share_factors(case.users.select("user_id", "factors"), name="user_id")
    got = rows(fold_in(case.preferences, shared, case.config, names=("item_id", "user_id")), "item_id")
    again = rows(case.items, "item_id")
    assert got.keys() == again.keys()
    # One more half-step from a nearly converged model moves the items a little.
    drift = [np.linalg.norm(got[i] - again[i]) / np.linalg.norm(again[i]) for i in got]
    assert np.median(drift) < 0.35


def _plain_loss(x: np.ndarray, y: np.ndarray, sample: Sample, config: AlsConfig) -> float:
    p = np.zeros((len(x), len(y)))
    p[sample.user, sample.item] = sample.value
    known = np.zeros_like(p, dtype=bool)
    known[sample.user, sample.item] = True
    score = x.astype(float) @ y.astype(float).T
    if config.preference == "implicit":
        data = ((1 + config.alpha * np.abs(p)) * ((p > 0) - score) ** 2).sum()
        counted = p > 0
    else:
        data, counted = ((p - score)[known] ** 2).sum(), known
    weights = counted.sum(1) @ (x.astype(float) ** 2).sum(1) + counted.sum(0) @ (y.astype(float) ** 2).sum(1)
    return float((data + config.regularization * weights) / len(sample.value))


def test_the_loss_is_the_objective_written_out(case: Case) -> None:
    sample = sampled(case.preferences, 10_000, 1.0)
    assert len(sample.value) == case.preferences.count()
    users, items = rows(case.users, "user_id"), rows(case.items, "item_id")
    x = np.array([users[u] for u in sample.users], dtype=np.float32)
    y = np.array([items[i] for i in sample.items], dtype=np.float32)
    wanted = _plain_loss(x, y, sample, case.config)
    assert loss(x, y, sample, case.config) == pytest.approx(wanted, rel=1e-5)
    assert model_loss(sample, case.users, case.items, case.config) == pytest.approx(wanted, rel=1e-5)


def test_the_loss_falls_to_where_mllib_gets(case: Case) -> None:
    sample = sampled(case.preferences, 10_000, 1.0)
    losses = convergence(sample, case.config)
    assert len(losses) == 12
    assert all(later < earlier * (1 + 1e-5) for earlier, later in pairwise(losses))
    own = model_loss(sample, case.users, case.items, case.config)
    assert own == pytest.approx(losses[-1], rel=0.05)


def test_a_sample_holds_whole_users_and_at_most_its_size(case: Case) -> None:
    part = sampled(case.preferences, 10_000, 0.4)
    counts = {row.user_id: row["count"] for row in case.preferences.groupBy("user_id").count().collect()}
    assert 5 < len(part.users) < USERS
    assert dict(zip(part.users, np.bincount(part.user).tolist(), strict=True)) == {
        user: counts[user] for user in part.users
    }
    assert len(sampled(case.preferences, 17, 1.0).value) == 17
