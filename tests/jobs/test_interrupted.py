"""A stage that died in its middle and runs again ends as if nothing had happened."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest
from delta import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from tests.jobs.conftest import PIPELINE_TABLES, SHORT_LIVED, DemoRun
from vizrec_spark.tables import Table, TableStore, Written
from vizrec_spark.tables.schemas import (
    ALS_MODELS,
    COMPARED_ITEMS,
    EMBEDDINGS,
    ITEM_FACTORS,
    RECOMMENDATIONS,
    USER_FACTORS,
)

# Stages that begin with nothing of their own, and the tables that were there before.
FIRST = {"embed": ["images", "quarantine"]}
# What makes a stage long enough to be killed in its middle.
LONGER = {"embed": ["embed.chunk=60"]}
# Stages that replace what an earlier run has published, and what was different then.
AGAIN = {
    "ingest": "ingest.catalogue.columns.price=null",
    "similar": "similar.k=5",
    "als": "als.rank=4",
    "recommend": "recommend.k=5",
}
# When a stage is killed: as soon as this table has a new version, while others of the stage have none.
AFTER = {"ingest": "items", "embed": "embeddings", "similar": "item_neighbors", "als": "user_factors"}
# Tables that grow by chunks, each of which is whole.
GROWING = (EMBEDDINGS,)
# Tables whose rows are of one model, in every version.
ONE_MODEL = (USER_FACTORS, ITEM_FACTORS, RECOMMENDATIONS)
# A stage of one table: as soon as a file of its next version is there.
DURING = {"recommend": "recommendations"}


@pytest.mark.parametrize(
    ("stage", "how"),
    [
        ("embed", "killed"),
        ("ingest", "raised"),
        # By `make test-faults`. What kills of `als` leave is made without a process in the tests of that stage.
        *(
            pytest.param(stage, "killed", marks=pytest.mark.faults)
            for stage in ("ingest", "similar", "als", "recommend")
        ),
    ],
)
def test_a_stage_that_died_and_runs_again_gives_the_same_tables(
    demo: DemoRun, spark: SparkSession, tmp_path: Path, stage: str, how: str
) -> None:
    tables = tmp_path / "tables"
    for name in FIRST.get(stage, [table.name for table in PIPELINE_TABLES]):
        shutil.copytree(demo.folder / "tables" / name, tables / name)
    if stage in AGAIN:
        demo.run(spark, stage, tables, AGAIN[stage])
    written = [table for table in PIPELINE_TABLES if table.writer == stage]
    since = {table.name: _latest(spark, tables, table) for table in written}
    allowed = {table.name: _allowed(spark, demo, tables, table) for table in written}
    if how == "killed":
        _kill([*demo.command(stage, tables), *_settings(LONGER.get(stage, []))], _moment(stage, tables))
    else:
        _fail(demo, spark, stage, tables)
    if stage in LONGER:
        assert 0 < _count(spark, tables, EMBEDDINGS) < demo.table(spark, "embeddings").count()
    demo.run(spark, stage, tables)
    for table in written:
        assert _halves(spark, tables, table, since[table.name], allowed[table.name]) == []
    for table in written:
        undisturbed = demo.table(spark, table.name)
        disturbed = spark.read.format("delta").load(str(tables / table.name))
        if table is ALS_MODELS:  # it remembers those of before
            disturbed = disturbed.join(undisturbed.select("model_id"), "model_id", "left_semi")
            disturbed = disturbed.select(undisturbed.columns)
        if table.name == "quarantine":
            undisturbed = undisturbed.where(f"stage = '{stage}'")
        assert _rows(disturbed) == _rows(undisturbed), table.name


def _allowed(spark: SparkSession, demo: DemoRun, tables: Path, table: Table) -> set[int]:
    """The numbers of rows that a reader may meet: as before, or whole."""
    before = _count(spark, tables, table) if (tables / table.name).is_dir() else 0
    whole = demo.table(spark, table.name).count()
    if table in GROWING:
        return set(range(before, whole + 1))
    # Empty while a run replaces what it is about, so that a run that dies is followed by a whole one.
    emptied = {0} if table is COMPARED_ITEMS else set()
    return {before, whole} | emptied


def _count(spark: SparkSession, tables: Path, table: Table) -> int:
    return spark.read.format("delta").load(str(tables / table.name)).count()


def _settings(pairs: list[str]) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


def _rows(table: DataFrame) -> list[str]:
    """The rows as sorted JSON, without the pictures' bytes."""
    rows = table.drop("content").selectExpr("to_json(struct(*)) AS row").collect()
    return sorted(row.row for row in rows)


class _PowerCut(BaseException):
    """Nothing in the stage expects it."""


def _fail(demo: DemoRun, spark: SparkSession, stage: str, tables: Path) -> None:
    """Runs the stage in this process until the table of `AFTER` is written, and no further."""
    overwrite = TableStore._overwrite

    def last(store: TableStore, table: Table, *arguments: Any, **named: Any) -> Written:
        written = overwrite(store, table, *arguments, **named)
        if table.name == AFTER[stage]:
            raise _PowerCut
        return written

    with pytest.MonkeyPatch.context() as patch, pytest.raises(_PowerCut):
        patch.setattr(TableStore, "_overwrite", last)
        demo.run(spark, stage, tables)


def _moment(stage: str, tables: Path) -> Callable[[], bool]:
    """Whether the moment has come at which the stage is to be killed."""
    place = tables / (AFTER.get(stage) or DURING[stage])
    pattern = "_delta_log/*.json" if stage in AFTER else "*.parquet"
    # A table that is not there yet is created first, and then written.
    before = max(len(list(place.glob(pattern))), 1)
    return lambda: len(list(place.glob(pattern))) > before


def _kill(command: list[str], moment: Callable[[], bool]) -> None:
    """Starts the stage and kills all its processes at the `moment`."""
    with TemporaryFile("w+") as said:
        run = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=said,
            text=True,
            start_new_session=True,
            env={**os.environ, **SHORT_LIVED},
        )
        while not moment():
            if run.poll() is not None:
                said.seek(0)
                pytest.fail(f"the stage ended before the moment came:\n{said.read()}")
            time.sleep(0.002)
        assert run.poll() is None, "the stage was over before it could be killed"
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def _latest(spark: SparkSession, tables: Path, table: Table) -> int:
    """The number of the table's last version; -1 before it has one."""
    path = tables / table.name
    if not (path / "_delta_log").is_dir():
        return -1
    last = DeltaTable.forPath(spark, str(path)).history(1).select("version").first()
    assert last is not None
    return int(last.version)


def _halves(
    spark: SparkSession, tables: Path, table: Table, since: int, allowed: set[int]
) -> list[tuple[str, int, int]]:
    """Every version after `since` that a reader may have met and that is neither what was there before nor whole."""
    found = []
    for version in range(since + 1, _latest(spark, tables, table) + 1):
        frame = spark.read.format("delta").option("versionAsOf", version).load(str(tables / table.name))
        rows = frame.count()
        models = frame.select("model_id").distinct().count() if table in ONE_MODEL else min(rows, 1)
        if rows not in allowed or models != min(rows, 1):
            found.append((table.name, version, rows))
    return found
