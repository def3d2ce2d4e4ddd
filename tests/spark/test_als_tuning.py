"""Held-out interactions, how lists are judged on them, and job `tune` on a small shop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.als.tuning import stage as tuning
from vizrec_spark.als.tuning.stage import STAGE
from vizrec_spark.als.validation import last_share, mean_ndcg, relevant
from vizrec_spark.config import load_config
from vizrec_spark.errors import TableError
from vizrec_spark.stage import StageContext, StageResult
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.schemas import INTERACTIONS, TUNING_TRIALS

START = datetime(2024, 1, 1, tzinfo=UTC)
Event = tuple[str, str, float, int]
"""User, item, weight, hour."""


def log(spark: SparkSession, events: list[Event]) -> DataFrame:
    rows = [(u, i, "view", None, w, START + timedelta(hours=hour)) for u, i, w, hour in events]
    return spark.createDataFrame(rows, INTERACTIONS.schema)


def pairs(frame: DataFrame) -> set[tuple[str, str]]:
    return {(row.user_id, row.item_id) for row in frame.collect()}


def test_what_is_held_out_is_later_than_all_that_is_learned_from(spark: SparkSession) -> None:
    """One user acts early and one late: by the share of each, the late one's past would tell the early one's future."""
    hours = [*(("early", hour) for hour in range(10)), *(("late", 20 + hour // 2) for hour in range(10))]
    events: list[Event] = [(user, f"i{n}", 1.0, hour) for n, (user, hour) in enumerate(hours)]
    for share, wanted in ((0.25, 6), (0.1, 2), (0.5, 10)):  # rows of one moment stay together
        rows = last_share(log(spark, events), share).collect()
        assert sorted(r.item_id for r in rows) == sorted(item for _, item, _, _ in events)
        out = [r.timestamp for r in rows if r.held_out]
        assert len(out) == wanted
        assert min(out) > max(r.timestamp for r in rows if not r.held_out)


def test_to_foretell_is_what_is_liked_and_new(spark: SparkSession) -> None:
    events: list[Event] = [
        *(("u", f"old{h}", 1.0, h) for h in range(3)),
        ("u", "old1", 1.0, 7),
        ("u", "bad", 0.0, 8),
        ("u", "new", 1.0, 9),
        ("stranger", "new", 1.0, 9),
    ]
    split = last_share(log(spark, events), 0.5)
    assert pairs(relevant(split)) == {("u", "new")}


def test_the_mean_counts_who_got_no_list_as_zero(spark: SparkSession) -> None:
    wanted = spark.createDataFrame(
        [("a", "x"), ("b", "x"), ("b", "y"), ("c", "z")], "user_id string, item_id string"
    )
    lists = spark.createDataFrame(
        [
            ("a", 1, "q"),
            ("a", 2, "x"),
            ("b", 1, "x"),
            ("b", 2, "y"),
            ("b", 3, "z"),
            ("d", 1, "x"),
            ("c", 9, "z"),
        ],
        "user_id string, rank int, item_id string",
    )
    row = mean_ndcg(lists, wanted, 3).collect()[0]
    assert row.users == 3
    assert row.value == pytest.approx((1 / math.log2(3) + 1.0 + 0.0) / 3)


class Shop:
    """Users of two groups, each of whom meets the group's items one by one."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder = spark, folder
        self.output = folder / "tuned.yml"
        self.pairs = [
            f"tables.root={folder / 'tables'}",
            f"als.checkpoint_dir={folder / 'checkpoints'}",
            "als.rank=1",
            "als.iterations=2",
            "als.blocks=1",
            "tune.ranks=[2]",
            "tune.k=3",
            "tune.held_out=0.25",
            f"tune.output={self.output}",
        ]
        config = load_config(None, self.pairs)
        self.store = TableStore(spark, config.tables, Stamp("run-1", "tune", "0" * 16))
        events: list[Event] = [
            (f"u{u}", f"i{u % 2}{(u * 3 + j) % 7}", 1.0, j) for u in range(12) for j in range(6)
        ]
        self.store.overwrite(INTERACTIONS, log(spark, events))

    def run(self, trials: int, *pairs: str) -> StageResult:
        config = load_config(None, [*self.pairs, f"tune.trials={trials}", *pairs])
        return STAGE.run(StageContext(self.spark, config, self.store, "run-1"))

    def trials(self) -> list[tuple[object, ...]]:
        return sorted(map(tuple, self.store.read(TUNING_TRIALS).collect()), key=lambda row: str(row[:2]))


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    yield Shop(spark, tmp_path_factory.mktemp("tune"))


def test_trials_are_kept_a_later_run_goes_on_and_the_best_is_a_configuration(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shop.run(1)
    assert "1 trials, 0 from earlier runs" in first.notes[0]
    kept = shop.trials()
    assert [(row[1], row[2], row[3]) for row in kept] == [
        (0, {"rank": 1.0, "regularization": 0.05, "alpha": 10.0}, "ndcg@3")
    ]
    again = shop.run(2)
    assert "2 trials, 1 from earlier runs" in again.notes[0]
    assert shop.trials()[:1] == kept and len(shop.trials()) == 2
    best = max(shop.trials(), key=lambda row: (row[4], -row[1]))  # type: ignore[operator]
    assert 0.0 < best[4] <= 1.0  # type: ignore[operator]
    chosen = load_config(shop.output).als
    wanted = best[2]
    assert isinstance(wanted, dict)
    assert (chosen.rank, chosen.alpha, chosen.regularization, chosen.half_life_days) == (
        int(wanted["rank"]),
        wanted["alpha"],
        wanted["regularization"],
        wanted.get("half_life_days"),
    )

    def no_fit(*_: object) -> None:
        raise AssertionError("a finished study was trained again")

    monkeypatch.setattr(tuning, "AlsRecommender", no_fit)
    assert "2 trials, 2 from earlier runs" in shop.run(2).notes[0]


def test_nothing_to_foretell_says_what_to_do(shop: Shop) -> None:
    with pytest.raises(TableError, match=r"nothing to foretell.*tune\.held_out"):
        shop.run(1, "tune.held_out=0.999")
