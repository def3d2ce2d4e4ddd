"""Benchmark quality: a model that cheats is caught, by what it keeps and not by what it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from benchmarks.quality.judge import Round
from benchmarks.quality.protocols import Data
from benchmarks.quality.window import Window
from vizrec_spark.als.recommender import AlsRecommender
from vizrec_spark.config import Config
from vizrec_spark.config.models import AlsConfig, TablesConfig
from vizrec_spark.errors import LeakFound
from vizrec_spark.evaluate.splits import TRAIN, VALIDATION, cold_items, known_before_test, part_of
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.schemas import INTERACTIONS, ITEMS

START = datetime(2024, 1, 1, tzinfo=UTC)
STAMP = Stamp("r", "t", "0" * 16)


@pytest.fixture(scope="module")
def own(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Round:
    rows = [
        (f"u{u}", f"i{(u * 3 + n) % 20}", "view", None, 1.0, START + timedelta(days=u, hours=n))
        for u in range(8)
        for n in range(10)
    ]
    log = spark.createDataFrame(rows, INTERACTIONS.schema).coalesce(1)
    split = cold_items(log, share=0.2, validation_share=0.1, seed=1).persist()
    # What the judge does not look at is left out.
    nothing: dict[str, Any] = dict.fromkeys(("config", "tables", "users", "items", "vectors", "candidates"))
    window = Window(
        name="cold_items_1",
        spark=spark,
        folder=tmp_path_factory.mktemp("window"),
        known=known_before_test(split),
        tuning=(part_of(split, TRAIN), part_of(split, VALIDATION)),
        als=AlsConfig(),
        depth=10,
        cold=True,
        seed=1,
        **nothing,
    )
    return Round(window, split)


def test_a_model_that_learns_from_the_whole_log_is_caught(own: Round, tmp_path: Path) -> None:
    cheat = TableStore(own.window.spark, TablesConfig(root=str(tmp_path / "tables")), STAMP)
    cheat.overwrite(INTERACTIONS, own.split.drop("part"))
    # What it was given has passed: the message is about its own tables.
    with pytest.raises(LeakFound, match=r"/tables' has seen what it is tested on: \d+ interactions"):
        Round(replace(own.window, folder=tmp_path), own.split).refuse_cheats()


def test_factors_of_items_that_nobody_met_are_caught(own: Round, tmp_path: Path) -> None:
    factors = {
        f"{kind}s": own.split.selectExpr(f"{kind}_id", "array(1f) AS factors").distinct()
        for kind in ("user", "item")
    }
    model = AlsRecommender()
    model._frames = {**factors, "met": own.split.select("user_id", "item_id").distinct()}
    model.save(str(tmp_path / "als"))
    with pytest.raises(LeakFound, match="/als' has seen what it is tested on: 4 factors"):
        Round(replace(own.window, folder=tmp_path), own.split).refuse_cheats()


def test_a_window_that_was_cut_wrong_is_caught(own: Round) -> None:
    one = own.split.where("part = 'test'").drop("part").limit(1)
    wrong = replace(own.window, known=own.window.known.unionByName(one))
    with pytest.raises(LeakFound, match="as it was given' has seen what it is tested on: 1 interactions"):
        Round(wrong, own.split).refuse_cheats()


def test_models_are_handed_no_table_of_interactions(own: Round, tmp_path: Path) -> None:
    spark = own.window.spark
    config = Config(tables=TablesConfig(root=str(tmp_path / "tables")))
    tables = TableStore(spark, config.tables, STAMP)
    tables.overwrite(INTERACTIONS, own.window.known)
    tables.overwrite(ITEMS, spark.createDataFrame([("i1", None, [], None, None, {})], ITEMS.schema))
    data = Data.apart(spark, config, tables, tmp_path / "scratch", 10)
    handed = TableStore(spark, data.config.tables, STAMP)
    assert data.content.read(ITEMS).count() == handed.read(ITEMS).count() == 1
    again = TableStore(spark, TablesConfig(root=str(tmp_path / "again")), STAMP)
    again.clone_from(ITEMS, data.content)  # as models do that run whole stages
    assert again.read(ITEMS).count() == 1
    assert not data.content.exists(INTERACTIONS) and not handed.exists(INTERACTIONS)
