"""Stage `als` on small tables: what is written, what is left alone, what is repaired."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml.recommendation import ALSModel
from pyspark.sql import SparkSession

from vizrec_spark.als.checkpoints import checkpoints
from vizrec_spark.als.stage import STAGE
from vizrec_spark.config.models import AlsConfig, Config, TablesConfig
from vizrec_spark.errors import TableError
from vizrec_spark.stage import StageContext
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.contract import Table
from vizrec_spark.tables.schemas import ALS_MODELS, ID_MAP, INTERACTIONS, ITEM_FACTORS, USER_FACTORS

WRITTEN = (ID_MAP, USER_FACTORS, ITEM_FACTORS)
USERS = ["ü", "Ωmega", "u 3", "用户", "🧦", "u6"]
ITEMS = ["café", "i|2", "3", "商品", "i5"]
Event = tuple[str, str, float]


def clicks() -> list[Event]:
    return [
        (u, i, 1.0 + (a * b) % 3) for a, u in enumerate(USERS) for b, i in enumerate(ITEMS) if (a + b) % 3
    ]


class Shop:
    """Tables below a folder, and the stage run on them."""

    def __init__(self, spark: SparkSession, folder: Path, **als: Any) -> None:
        self.spark, self.folder = spark, folder
        self.als = {
            "rank": 2,
            "iterations": 3,
            "blocks": 2,
            "loss_sample": 0,
            "checkpoint_dir": str(folder / "checkpoints"),
            **als,
        }
        self.store = TableStore(
            spark, TablesConfig(root=str(folder / "tables")), Stamp("run-1", "als", "0" * 16)
        )

    def interact(self, events: list[Event], rating: float | None = None) -> None:
        moment = datetime(2024, 1, 1, tzinfo=UTC)
        rows = [(u, i, "view", rating, weight, moment) for u, i, weight in events]
        self.store.overwrite(INTERACTIONS, self.spark.createDataFrame(rows, INTERACTIONS.schema))

    def run(self, **als: Any) -> Any:
        config = Config(als=AlsConfig(**{**self.als, **als}))
        return STAGE.run(StageContext(self.spark, config, self.store, "run-1"))

    def rows(self, table: Table) -> list[tuple[Any, ...]]:
        return sorted(map(tuple, self.store.read(table).collect()))

    def versions(self) -> list[object]:
        return [self.store.commits(table, 1)[0]["version"] for table in WRITTEN]

    def models(self) -> set[str]:
        return {row[0] for table in (USER_FACTORS, ITEM_FACTORS) for row in self.rows(table)}


@pytest.fixture
def shop(spark: SparkSession, tmp_path: Path) -> Shop:
    made = Shop(spark, tmp_path)
    made.interact(clicks())
    return made


def test_factors_of_every_user_and_item_under_their_own_ids(shop: Shop) -> None:
    result = shop.run()
    assert [w.table for w in result.written] == ["id_map", "user_factors", "item_factors", "als_models"]
    assert {row[1] for row in shop.rows(USER_FACTORS)} == set(USERS)
    assert {row[1] for row in shop.rows(ITEM_FACTORS)} == set(ITEMS)
    assert len(shop.models()) == 1
    assert all(len(row[2]) == 2 and np.isfinite(row[2]).all() for row in shop.rows(USER_FACTORS))
    assert "20 implicit preferences" in result.notes[0]


def test_a_second_run_is_up_to_date_and_writes_nothing(shop: Shop) -> None:
    shop.run()
    before = shop.versions()
    again = shop.run()
    assert {one.table: one.changed for one in again.written} == {
        "id_map": 0,
        "user_factors": 0,
        "item_factors": 0,
        "als_models": 0,
    }
    assert "up to date" in again.notes[0]
    assert shop.versions() == before


def test_where_checkpoints_lie_is_no_part_of_the_model(shop: Shop) -> None:
    shop.run()
    moved = shop.run(checkpoint_dir=str(shop.folder / "elsewhere"), checkpoint_interval=2)
    assert "up to date" in moved.notes[0]


@pytest.mark.parametrize("change", [{"rank": 3}, {"seed": 1}, {"alpha": 2.0}, {"max_weight": 2.0}])
def test_other_settings_are_another_model(shop: Shop, change: dict[str, Any]) -> None:
    shop.run()
    before = shop.models()
    assert shop.run(**change).written
    assert shop.models().isdisjoint(before)


def test_changed_data_retrains_and_ids_keep_their_numbers(shop: Shop) -> None:
    shop.run()
    models, known = shop.models(), dict.fromkeys(shop.rows(ID_MAP))
    shop.interact([*clicks()[3:], ("new", "café", 1.0), ("u6", "new", 2.0)])
    shop.run()
    assert shop.models().isdisjoint(models)
    assert {row[1] for row in shop.rows(USER_FACTORS)} == {u for u, _, _ in clicks()[3:]} | {"new"}
    grown = shop.rows(ID_MAP)
    assert set(grown) > set(known)
    assert set(grown) - set(known) == {("user", "new", len(USERS)), ("item", "new", len(ITEMS))}


def test_one_weight_more_is_other_data(shop: Shop) -> None:
    shop.run()
    before = shop.models()
    (user, item, weight), *rest = clicks()
    shop.interact([(user, item, weight + 0.25), *rest])
    assert shop.run().written
    assert shop.models().isdisjoint(before)


@pytest.mark.parametrize("torn", [USER_FACTORS, ITEM_FACTORS])
def test_a_run_that_died_between_its_tables_is_repaired(shop: Shop, torn: Table) -> None:
    shop.run()
    whole = [shop.rows(table) for table in WRITTEN]
    other = shop.store.read(torn).selectExpr(
        "'als-other' model_id", torn.key[0], "transform(factors, x -> x + 1f) factors"
    )
    shop.store.overwrite(torn, other)
    assert shop.rows(torn) != whole[WRITTEN.index(torn)]
    assert shop.run().written
    assert [shop.rows(table) for table in WRITTEN] == whole


def test_a_run_that_died_after_the_id_map_is_repaired(shop: Shop, tmp_path: Path) -> None:
    other = Shop(shop.spark, tmp_path / "other")
    other.interact(clicks())
    other.run()
    shop.store.overwrite(ID_MAP, other.store.read(ID_MAP))
    shop.run()
    assert [shop.rows(table) for table in WRITTEN] == [other.rows(table) for table in WRITTEN]


def test_the_checkpoint_folder_is_the_configured_one(shop: Shop) -> None:
    folder = shop.folder / "checkpoints"
    shop.run(iterations=4, checkpoint_interval=1)
    assert str(folder) in (shop.spark.sparkContext.getCheckpointDir() or "")
    assert list(folder.iterdir()) == []


def test_checkpoints_lie_there_while_the_body_runs_and_go_with_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    with checkpoints(spark, str(tmp_path)):
        assert spark.range(3).checkpoint().count() == 3
        assert any(tmp_path.rglob("rdd-*"))
    assert list(tmp_path.iterdir()) == []
    assert spark.range(4).checkpoint().count() == 4, "the session can go on"


def test_without_ratings_explicit_says_what_to_do(shop: Shop) -> None:
    with pytest.raises(TableError, match=r"nothing to learn from \(explicit preferences\).*als\.preference"):
        shop.run(preference="explicit")
    assert not shop.store.exists(USER_FACTORS)


def test_explicit_learns_from_ratings(shop: Shop) -> None:
    shop.interact(clicks(), rating=4.0)
    assert "explicit" in shop.run(preference="explicit").notes[0]
    assert len(shop.rows(USER_FACTORS)) == len(USERS)


def test_without_interactions_it_names_the_stage_to_run(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="run stage `ingest` first"):
        Shop(spark, tmp_path).run()


def test_a_shop_where_nobody_did_anything_has_an_empty_model(shop: Shop) -> None:
    shop.run()
    shop.interact([])
    result = shop.run()
    assert [(w.table, w.rows) for w in result.written] == [("user_factors", 0), ("item_factors", 0)]
    assert "no interactions yet" in result.notes[0]
    assert shop.rows(USER_FACTORS) == shop.rows(ITEM_FACTORS) == []


def test_the_model_is_described_and_kept_in_mllibs_format(shop: Shop) -> None:
    result = shop.run(model_dir=str(shop.folder / "models"), iterations=5, loss_sample=1000)
    about = shop.store.read(ALS_MODELS).collect()[0]
    assert (about.model_id,) == tuple(shop.models())
    assert about.id_map_version == shop.store.commits(ID_MAP, 1)[0]["version"]
    assert (about.preferences, about.rank, about.iterations, about.blocks) == (20, 2, 5, 2)
    assert len(about.losses) == 5 and about.losses == sorted(about.losses, reverse=True)
    assert about.loss == pytest.approx(about.losses[-1], rel=0.25)
    assert any("loss by iteration" in note and f"{about.losses[-1]:.4f}" in note for note in result.notes)
    assert any("linear algebra" in note and about.linear_algebra in note for note in result.notes)
    loaded = ALSModel.load(about.path)
    number = {row[1]: row[2] for row in shop.rows(ID_MAP) if row[0] == "user"}
    kept = {row.id: list(row.features) for row in loaded.userFactors.collect()}
    assert {number[user]: factors for _, user, factors in shop.rows(USER_FACTORS)} == kept


def test_a_model_that_is_to_be_kept_and_is_not_is_trained_again(shop: Shop) -> None:
    shop.run()
    whole = [shop.rows(table) for table in WRITTEN]
    assert shop.run(model_dir=str(shop.folder / "models")).written
    assert (shop.folder / "models" / shop.models().pop() / "metadata").exists()
    assert [shop.rows(table) for table in WRITTEN] == whole
    assert not shop.run(model_dir=str(shop.folder / "models")).written


def test_no_loss_where_none_is_asked_for(shop: Shop) -> None:
    shop.run()
    about = shop.store.read(ALS_MODELS).collect()[0]
    assert (about.losses, about.loss) == ([], None)
