"""Killed in the middle of a stage and run again, the pipeline ends as if nothing had happened."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from tests.jobs.conftest import PIPELINE_TABLES, SHORT_LIVED, DemoRun
from vizrec_spark.tables import Table
from vizrec_spark.tables.schemas import ALS_MODELS, COMPARED_ITEMS

# Stages that begin with nothing of their own, and the tables that were there before.
FIRST = {"embed": ["images", "quarantine"]}
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


@pytest.mark.parametrize("stage", [*FIRST, *AGAIN])
def test_a_killed_stage_run_again_gives_the_same_tables(
    demo: DemoRun, spark: SparkSession, tmp_path: Path, stage: str
) -> None:
    tables = tmp_path / "tables"
    for name in FIRST.get(stage, [table.name for table in PIPELINE_TABLES]):
        shutil.copytree(demo.folder / "tables" / name, tables / name)
    if stage in AGAIN:
        demo.run(spark, stage, tables, AGAIN[stage])
    written = [table for table in PIPELINE_TABLES if table.writer == stage]
    with _Reader(spark, demo, tables, written) as reader:
        _kill(demo.command(stage, tables), _moment(stage, tables))
        demo.run(spark, stage, tables)
    assert reader.halves == []
    for table in written:
        undisturbed = demo.table(spark, table.name)
        disturbed = spark.read.format("delta").load(str(tables / table.name))
        if table is ALS_MODELS:  # it remembers those of before
            disturbed = disturbed.join(undisturbed.select("model_id"), "model_id", "left_semi")
            disturbed = disturbed.select(undisturbed.columns)
        if table.name == "quarantine":
            undisturbed = undisturbed.where(f"stage = '{stage}'")
        assert _rows(disturbed) == _rows(undisturbed), table.name


def _rows(table: DataFrame) -> list[str]:
    """The rows as sorted JSON, without the pictures' bytes."""
    rows = table.drop("content").selectExpr("to_json(struct(*)) AS row").collect()
    return sorted(row.row for row in rows)


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


class _Reader:
    """Reads the tables all along, and notes each version that is neither what was there before nor whole."""

    def __init__(self, spark: SparkSession, demo: DemoRun, tables: Path, written: list[Table]) -> None:
        self._spark, self._tables = spark, tables
        self._allowed = {table.name: {demo.table(spark, table.name).count()} for table in written}
        for name, allowed in self._allowed.items():
            allowed.add(self._count(name) if (tables / name).is_dir() else 0)
        # Empty while a run replaces what it is about, so that a run that dies is followed by a whole one.
        self._allowed.get(COMPARED_ITEMS.name, set()).add(0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.halves: list[tuple[str, int]] = []

    def __enter__(self) -> _Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(2.0):
            for name, allowed in self._allowed.items():
                if not (self._tables / name / "_delta_log").is_dir():
                    continue
                try:
                    rows = self._count(name)
                except PySparkException:
                    continue  # the first commit is not there yet
                if rows not in allowed:
                    self.halves.append((name, rows))

    def _count(self, name: str) -> int:
        return self._spark.read.format("delta").load(str(self._tables / name)).count()
