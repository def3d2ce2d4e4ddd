"""Taking back a bad publish: together what belongs together, to one moment, and nothing that is only added to."""

from __future__ import annotations

import time

import pytest
from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.app.cli import main
from vizrec_spark.config.models import TablesConfig
from vizrec_spark.errors import TableError
from vizrec_spark.tables import Stamp, Table, TableStore
from vizrec_spark.tables.restore import KEPT, TOGETHER, plan_restore, restore
from vizrec_spark.tables.schemas import ALL_TABLES, ENCODERS, ITEM_FACTORS, USER_FACTORS


@pytest.fixture(scope="module")
def root(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two runs of a model and, between them, one that writes other tables."""
    folder = str(tmp_path_factory.mktemp("restore"))
    for run, n in (("good", 3), ("bad", 1)):
        tables = store(spark, folder, run)
        for table, kind in ((USER_FACTORS, "user"), (ITEM_FACTORS, "item")):
            tables.overwrite(table, factors(spark, table, run, kind, n))
        if run == "good":
            time.sleep(1.1)  # Delta's times are those of files
            store(spark, folder, "other").overwrite(ENCODERS, encoder(spark, "one"))
    return folder


def store(spark: SparkSession, root: str, run: str) -> TableStore:
    return TableStore(spark, TablesConfig(root=root), Stamp(run, "als", "0" * 16))


def factors(spark: SparkSession, table: Table, model: str, kind: str, n: int) -> DataFrame:
    return spark.createDataFrame([(model, f"{kind}{i}", [0.5]) for i in range(n)], table.schema)


def encoder(spark: SparkSession, name: str) -> DataFrame:
    return spark.createDataFrame([(name, name, 8)], ENCODERS.schema)


def counts(tables: TableStore) -> tuple[int, int]:
    return tables.read(USER_FACTORS).count(), tables.read(ITEM_FACTORS).count()


def test_a_plan_shows_what_would_change_and_changes_nothing(spark: SparkSession, root: str) -> None:
    tables = store(spark, root, "look")
    plan = plan_restore(tables, "user_factors", before_run="bad")
    assert [(c.table.name, c.rows_now, c.rows_then) for c in plan] == [
        ("user_factors", 1, 3),
        ("item_factors", 1, 3),
    ]
    assert {run for c in plan for _, _, run, _ in c.undone} == {"bad"}
    assert plan_restore(tables, "item_factors", to_run="good") == plan
    assert plan_restore(tables, "user_factors", to_run="bad") == []
    assert counts(tables) == (1, 1)


def test_what_cannot_be_meant_is_refused(spark: SparkSession, root: str) -> None:
    tables = store(spark, root, "look")
    with pytest.raises(TableError, match=r"belongs together with item_factors.*--before-run"):
        plan_restore(tables, "user_factors", to_version=1)
    with pytest.raises(TableError, match=r"Run nobody has no commit.*bad, good"):
        plan_restore(tables, "user_factors", before_run="nobody")
    with pytest.raises(TableError, match="no version that old"):
        plan_restore(tables, "user_factors", before_run="good")
    with pytest.raises(TableError, match="There is no table factors; the tables are items"):
        plan_restore(tables, "factors", to_version=1)
    with pytest.raises(TableError, match="does not exist"):
        plan_restore(tables, "recommendations", to_version=1)
    for table in KEPT:
        with pytest.raises(TableError, match="only ever added to"):
            plan_restore(tables, table.name, to_version=0)
    with pytest.raises(TableError, match="cannot be read at version 99"):
        plan_restore(tables, "encoders", to_version=99)


def test_a_plan_that_is_out_of_date_is_refused(spark: SparkSession, root: str) -> None:
    tables = store(spark, root, "look")
    plan = plan_restore(tables, "encoders", to_version=0)
    tables.upsert(ENCODERS, encoder(spark, "two"))
    with pytest.raises(TableError, match="written since this was planned"):
        restore(tables, plan)
    assert tables.read(ENCODERS).count() == 2


def test_the_command_asks_and_restores_with_its_stamp(
    spark: SparkSession, root: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tables, where = store(spark, root, "look"), ["--set", f"tables.root={root}"]
    assert main(["restore", "user_factors", "--before-run", "bad", "--dry-run", *where]) == 0
    assert "3" in capsys.readouterr().out and counts(tables) == (1, 1)
    assert main(["restore", "user_factors", "--before-run", "bad", *where]) == 2  # nobody to ask
    assert counts(tables) == (1, 1)
    undo = ["restore", "user_factors", "--before-run", "bad", "--yes", "--run-id", "undo-1", *where]
    assert main(undo) == 0
    assert counts(tables) == (3, 3)
    last = tables.commits(ITEM_FACTORS, 1)[0]
    assert (last["operation"], last["run_id"], last["stage"]) == ("RESTORE", "undo-1", "restore")
    assert main(["restore", "user_factors", "--to-run", "bad", "--yes", *where]) == 0  # and back again
    assert counts(tables) == (1, 1)


def test_every_table_is_in_one_group_at_most() -> None:
    grouped = [table.name for group in (*TOGETHER, KEPT) for table in group]
    assert len(grouped) == len(set(grouped)) and set(grouped) <= {table.name for table in ALL_TABLES}
