"""Stage `als` on small tables: what is written, what is left alone, what is repaired."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml.recommendation import ALSModel
from pyspark.sql import SparkSession

from vizrec_spark.als.checkpoints import checkpoints
from vizrec_spark.als.prepare import prepared
from vizrec_spark.als.stage import STAGE, _model_id, _up_to_date
from vizrec_spark.config.models import AlsConfig, Config, TablesConfig
from vizrec_spark.errors import TableError
from vizrec_spark.scratch import claimed
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

    def versions(self) -> list[int]:
        return [self.store.version(table) for table in WRITTEN]

    def models(self) -> set[str]:
        return {row[0] for table in (USER_FACTORS, ITEM_FACTORS) for row in self.rows(table)}


@pytest.fixture(scope="module")
def first(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, Any, Path]:
    """A shop on which the stage ran once and kept its model, what it said, and a copy of its tables from before."""
    made = Shop(spark, tmp_path_factory.mktemp("first"))
    made.interact(clicks())
    before = made.folder / "before"
    shutil.copytree(made.folder / "tables", before)
    kept = str(made.folder / "models")
    return made, made.run(model_dir=kept, loss_sample=1000, checkpoint_interval=1), before


@pytest.fixture
def shop(spark: SparkSession, tmp_path: Path, first: tuple[Shop, Any, Path]) -> Shop:
    """A shop with interactions and nothing else."""
    shutil.copytree(first[2], tmp_path / "tables")
    return Shop(spark, tmp_path)


@pytest.fixture
def trained(spark: SparkSession, tmp_path: Path, first: tuple[Shop, Any, Path]) -> Shop:
    """A shop on which the stage ran once."""
    shutil.copytree(first[0].folder / "tables", tmp_path / "tables")
    return Shop(spark, tmp_path)


def test_factors_of_every_user_and_item_under_their_own_ids(first: tuple[Shop, Any, Path]) -> None:
    shop, result, _ = first
    assert [w.table for w in result.written] == ["id_map", "user_factors", "item_factors", "als_models"]
    assert {row[1] for row in shop.rows(USER_FACTORS)} == set(USERS)
    assert {row[1] for row in shop.rows(ITEM_FACTORS)} == set(ITEMS)
    assert len(shop.models()) == 1
    assert all(len(row[2]) == 2 and np.isfinite(row[2]).all() for row in shop.rows(USER_FACTORS))
    assert "20 implicit preferences" in result.notes[0]


def test_a_second_run_is_up_to_date_and_writes_nothing(trained: Shop) -> None:
    before = trained.versions()
    again = trained.run(checkpoint_dir=str(trained.folder / "elsewhere"), checkpoint_interval=2)
    assert {one.table: one.changed for one in again.written} == {
        "id_map": 0,
        "user_factors": 0,
        "item_factors": 0,
        "als_models": 0,
    }
    assert "up to date" in again.notes[0]
    assert trained.versions() == before
    # What is recorded is what was measured when it was trained.
    assert again.metrics == {"preferences": 20.0, "loss": trained.store.read(ALS_MODELS).first().loss}


def test_a_shop_in_which_nobody_has_done_anything_has_no_model(spark: SparkSession, tmp_path: Path) -> None:
    shop = Shop(spark, tmp_path)
    shop.interact([])
    result = shop.run()
    assert "nothing to learn from" in result.notes[0] and result.metrics == {"preferences": 0.0}
    assert shop.rows(USER_FACTORS) == shop.rows(ITEM_FACTORS) == []


def test_other_settings_are_another_model(shop: Shop) -> None:
    changes: list[dict[str, Any]] = [{}, {"rank": 3}, {"seed": 1}, {"alpha": 2.0}]
    with prepared(shop.store.read(INTERACTIONS), AlsConfig(**shop.als)) as ready:
        names = [_model_id(ready, AlsConfig(**{**shop.als, **change})) for change in changes]
        again = _model_id(ready, AlsConfig(**{**shop.als, "loss_sample": 9, "model_dir": "m"}))
    assert len(set(names)) == len(changes) and again == names[0]


def test_a_model_of_ratings_takes_the_place_of_the_last_and_ids_keep_their_numbers(trained: Shop) -> None:
    models, known = trained.models(), dict.fromkeys(trained.rows(ID_MAP))
    trained.interact([*clicks()[3:], ("new", "café", 1.0), ("u6", "new", 2.0)], rating=4.0)
    result = trained.run(preference="explicit")
    assert "explicit" in result.notes[0] and any(one.changed for one in result.written)
    assert trained.models().isdisjoint(models) and len(trained.models()) == 1
    assert {row[1] for row in trained.rows(USER_FACTORS)} == {u for u, _, _ in clicks()[3:]} | {"new"}
    grown = trained.rows(ID_MAP)
    assert set(grown) > set(known)
    assert set(grown) - set(known) == {("user", "new", len(USERS)), ("item", "new", len(ITEMS))}


def test_one_weight_more_is_other_data(shop: Shop) -> None:
    config = AlsConfig(**shop.als)
    (user, item, weight), *rest = clicks()
    names = []
    for events in (clicks(), [(user, item, weight + 0.25), *rest]):
        shop.interact(events)
        with prepared(shop.store.read(INTERACTIONS), config) as ready:
            names.append(_model_id(ready, config))
    assert names[0] != names[1]


def test_a_run_that_died_after_the_id_map_is_repaired(shop: Shop, first: tuple[Shop, Any, Path]) -> None:
    whole = first[0]
    shop.store.overwrite(ID_MAP, whole.store.read(ID_MAP))
    shop.run()
    assert [shop.rows(table) for table in WRITTEN] == [whole.rows(table) for table in WRITTEN]
    about = shop.store.read(ALS_MODELS).collect()[0]
    assert (about.losses, about.loss) == ([], None), "no loss where none is asked for"


def test_checkpoints_lie_there_while_the_body_runs_and_go_with_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    before = spark.sparkContext.getCheckpointDir()
    killed = tmp_path / "killed"
    killed.mkdir()
    with claimed(killed):
        pass  # the claim stays, its lock goes
    with checkpoints(spark, str(tmp_path)):
        assert spark.range(3).checkpoint().count() == 3
        assert any(tmp_path.glob("*/rdd-*")) and not killed.exists()
        mine = spark.sparkContext.getCheckpointDir()
        with checkpoints(spark, str(tmp_path)):  # another run, which must not take this one for dead
            assert spark.sparkContext.getCheckpointDir() != mine
        assert spark.sparkContext.getCheckpointDir() == mine and any(tmp_path.glob("*/rdd-*"))
    assert list(tmp_path.iterdir()) == []
    assert spark.sparkContext.getCheckpointDir() == before


def test_without_ratings_explicit_says_what_to_do(shop: Shop) -> None:
    with pytest.raises(TableError, match=r"nothing to learn from \(explicit preferences\).*als\.preference"):
        shop.run(preference="explicit")
    assert not shop.store.exists(USER_FACTORS)


def test_without_interactions_it_names_the_stage_to_run(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="run stage `ingest` first"):
        Shop(spark, tmp_path).run()


def test_a_shop_where_nobody_did_anything_has_an_empty_model(trained: Shop) -> None:
    trained.interact([])
    result = trained.run()
    assert [(w.table, w.rows) for w in result.written] == [("user_factors", 0), ("item_factors", 0)]
    assert "no interactions yet" in result.notes[0]
    assert trained.rows(USER_FACTORS) == trained.rows(ITEM_FACTORS) == []


def dense_loss(shop: Shop, config: AlsConfig) -> float:
    """MLlib's implicit objective by preference, every pair of user and item looked at."""
    x = np.array([factors for _, _, factors in shop.rows(USER_FACTORS)])
    y = np.array([factors for _, _, factors in shop.rows(ITEM_FACTORS)])
    users, items = sorted(USERS), sorted(ITEMS)
    weight = np.zeros((len(users), len(items)))
    for user, item, value in clicks():
        weight[users.index(user), items.index(item)] = value
    met = weight > 0
    errors = (1 + config.alpha * weight) * (met - x @ y.T) ** 2
    lengths = met.sum(axis=1) @ (x**2).sum(axis=1) + met.sum(axis=0) @ (y**2).sum(axis=1)
    return float((errors.sum() + config.regularization * lengths) / met.sum())


def test_the_model_is_described_and_kept_in_mllibs_format(first: tuple[Shop, Any, Path]) -> None:
    shop, result, _ = first
    assert list((shop.folder / "checkpoints").iterdir()) == []
    about = shop.store.read(ALS_MODELS).collect()[0]
    assert (about.model_id,) == tuple(shop.models())
    assert about.id_map_version == shop.store.version(ID_MAP)
    assert (about.preferences, about.rank, about.iterations, about.blocks) == (20, 2, 3, 2)
    assert len(about.losses) == 3 and about.losses == sorted(about.losses, reverse=True)
    assert about.loss == pytest.approx(dense_loss(shop, AlsConfig(**shop.als)))
    assert any("loss by iteration" in note and f"{about.losses[-1]:.4f}" in note for note in result.notes)
    assert any("linear algebra" in note and about.linear_algebra in note for note in result.notes)
    loaded = ALSModel.load(about.path)
    number = {row[1]: row[2] for row in shop.rows(ID_MAP) if row[0] == "user"}
    kept = {row.id: list(row.features) for row in loaded.userFactors.collect()}
    assert {number[user]: factors for _, user, factors in shop.rows(USER_FACTORS)} == kept


def test_a_model_that_is_torn_or_to_be_kept_and_is_not_is_trained_again(trained: Shop) -> None:
    """Torn by a run that died between its tables."""
    torn = ITEM_FACTORS  # the second of the two
    whole = [trained.rows(table) for table in WRITTEN]
    (model,), place = trained.models(), trained.folder / "models"
    assert _up_to_date(trained.store, model, None)
    assert not _up_to_date(trained.store, model, f"{place}/{model}")
    other = trained.store.read(torn).selectExpr(
        "'als-other' model_id", torn.key[0], "transform(factors, x -> x + 1f) factors"
    )
    trained.store.overwrite(torn, other)
    assert trained.rows(torn) != whole[WRITTEN.index(torn)]
    assert not _up_to_date(trained.store, model, None)
    assert any(one.changed for one in trained.run(model_dir=str(place)).written)
    assert (place / trained.models().pop() / "metadata").exists()
    assert [trained.rows(table) for table in WRITTEN] == whole
    assert not any(one.changed for one in trained.run(model_dir=str(place)).written)
