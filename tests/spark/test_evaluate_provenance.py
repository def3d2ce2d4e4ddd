"""Models that can have seen the test part are not measured, and `holdout` writes where it may and what it must."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from vizrec_spark.config.models import Config, EvaluateConfig, TablesConfig
from vizrec_spark.errors import ConfigError, LeakFound
from vizrec_spark.evaluate import holdout
from vizrec_spark.evaluate.holdout import training_tables
from vizrec_spark.evaluate.protocol import split_by
from vizrec_spark.evaluate.provenance import refuse_contaminated
from vizrec_spark.stage import StageContext
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.delta_log import UPKEEP
from vizrec_spark.tables.places import qualified
from vizrec_spark.tables.schemas import INTERACTIONS, ITEM_FACTORS

START = datetime(2024, 1, 1, tzinfo=UTC)


class Shop:
    """A log, the pipeline's own lists beside it, and a training window with lists of its own."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder = spark, folder
        self.store = TableStore(spark, TablesConfig(root=f"{folder}/tables"), Stamp("r", "t", "0" * 16))
        rows = [
            (f"u{u}", f"i{(u * 3 + n) % 20}", "view", None, 1.0, START + timedelta(days=u, hours=n))
            for u in range(8)
            for n in range(10)
        ]
        self.store.overwrite(INTERACTIONS, spark.createDataFrame(rows, INTERACTIONS.schema).coalesce(1))
        self.own = self.lists("tables")
        self.holdout()
        self.mine = self.lists("training")

    def lists(self, folder: str) -> str:
        """Lists like those of stage recommend, as far as anybody looks at them here."""
        frame = self.spark.createDataFrame([("u0", 1, "i1")], "user_id string, rank int, item_id string")
        place = f"{self.folder}/{folder}/recommendations"
        frame.coalesce(1).write.format("delta").mode("overwrite").save(place)
        return place

    def context(self, root: str = "tables", **evaluate: Any) -> StageContext:
        settings = {"protocol": "cold_items", "cold_share": 0.2, "training": f"{self.folder}/training"}
        config = Config(evaluate=EvaluateConfig(**{**settings, **evaluate}))
        tables = TableStore(self.spark, TablesConfig(root=f"{self.folder}/{root}"), self.store.stamp)
        return StageContext(self.spark, config, tables, "r")

    def holdout(self, **evaluate: Any) -> None:
        holdout.STAGE.run(self.context(**evaluate))

    def check(self, model: str, **settings: Any) -> None:
        context = self.context(**settings)
        split = split_by(self.store.read(INTERACTIONS), context.config.evaluate)
        refuse_contaminated(context, {"mine": model}, training_tables(context), split)


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(spark, tmp_path_factory.mktemp("provenance"))


def test_the_pipelines_own_lists_are_refused(shop: Shop) -> None:
    with pytest.raises(LeakFound, match=r"'mine' is .*the pipeline's own table"):
        shop.check(f"{shop.folder}/./tables/recommendations/")
    # As lists of anybody else they are known by the log beside them.
    with pytest.raises(LeakFound, match=r"'mine' has seen what it is tested on: \d+ interactions"):
        shop.check(shop.own, root="elsewhere")


def test_what_is_older_than_the_training_window_is_refused(shop: Shop) -> None:
    shop.holdout()  # changes nothing, and so makes nothing older
    shop.check(shop.mine)
    training = training_tables(shop.context())
    items = shop.store.read(INTERACTIONS).select("item_id").distinct().coalesce(1)
    training.overwrite(ITEM_FACTORS, items.selectExpr("item_id", "array(1f) AS factors", "'m' AS model_id"))
    with pytest.raises(LeakFound, match="'mine' has seen what it is tested on: 4 factors"):
        shop.check(shop.mine)
    shop.holdout(seed=1)
    with pytest.raises(LeakFound, match=r"its lists were written at .*interactions was changed at"):
        shop.check(shop.mine, seed=1)
    shop.lists("training")  # anew, from the factors of the window before
    with pytest.raises(LeakFound, match="its factors were written at"):
        shop.check(shop.mine, seed=1)


def test_upkeep_makes_nothing_older() -> None:
    upkeep = re.compile(UPKEEP)
    assert all(upkeep.match(name) for name in ("OPTIMIZE", "VACUUM END", "SET TBLPROPERTIES"))
    assert not any(upkeep.match(name) for name in ("WRITE", "MERGE", "DELETE", "CLONE", "CREATE TABLE"))


@pytest.mark.parametrize("spelled", ["{}/./tables", "{}/tables/", "file:{}/tables", "{}/training/../tables"])
def test_holdout_does_not_write_over_the_log(shop: Shop, spelled: str) -> None:
    with pytest.raises(ConfigError, match="must be another folder"):
        shop.holdout(training=spelled.format(shop.folder))


def test_a_place_is_the_same_however_it_is_written(spark: SparkSession, tmp_path: Path) -> None:
    near = os.path.relpath(tmp_path)
    for spelled in (near, f"./{near}", f"{tmp_path}/", f"file://{tmp_path}", f"{tmp_path}/a/.."):
        assert qualified(spark, spelled) == qualified(spark, str(tmp_path)), spelled
    assert qualified(spark, f"{tmp_path}/a") != qualified(spark, str(tmp_path))
