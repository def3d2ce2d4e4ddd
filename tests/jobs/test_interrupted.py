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
from pyspark.sql import SparkSession

from tests.jobs.conftest import PIPELINE_TABLES, SHORT_LIVED, DemoRun, rows_of
from tests.jobs.versions import count, halves, latest, met, of_models_in_use
from vizrec_spark.tables import Table, TableStore, Written
from vizrec_spark.tables.schemas import EMBEDDINGS

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
    since = {table.name: latest(spark, tables, table) for table in written}
    allowed = {table.name: met(spark, table, tables, demo.folder / "tables") for table in written}
    if how == "killed":
        _kill([*demo.command(stage, tables), *_settings(LONGER.get(stage, []))], _moment(stage, tables))
    else:
        _fail(demo, spark, stage, tables)
    if stage in LONGER:
        assert 0 < count(spark, tables, EMBEDDINGS) < demo.table(spark, "embeddings").count()
    demo.run(spark, stage, tables)
    for table in written:
        assert halves(spark, tables, table, since[table.name], allowed[table.name]) == []
    for table in written:
        undisturbed = demo.table(spark, table.name)
        disturbed = spark.read.format("delta").load(str(tables / table.name))
        disturbed = of_models_in_use(table, disturbed, undisturbed)
        if table.name == "quarantine":
            undisturbed = undisturbed.where(f"stage = '{stage}'")
        assert rows_of(disturbed) == rows_of(undisturbed), table.name


def _settings(pairs: list[str]) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


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
