"""Killed in the middle of a stage and run again, the pipeline ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from tests.jobs.conftest import DemoRun
from vizrec_spark.tables import Table
from vizrec_spark.tables.schemas import ALL_TABLES

# Stages that begin with nothing of their own, and the tables that were there before.
FIRST = {"ingest": [], "embed": ["images", "quarantine"]}
# Stages that replace what an earlier run has published, and what was different then.
AGAIN = {"similar": "similar.k=5", "als": "als.rank=4", "recommend": "recommend.k=5"}

LONGEST = {"embed": 5.0}  # seconds before the end of a fast stage


@pytest.mark.parametrize("stage", [*FIRST, *AGAIN])
def test_a_killed_stage_run_again_gives_the_same_tables(
    demo: DemoRun, spark: SparkSession, tmp_path: Path, stage: str
) -> None:
    chance = random.Random(f"moment {stage}")
    tables = tmp_path / "tables"
    for name in FIRST.get(stage, [table.name for table in ALL_TABLES]):
        shutil.copytree(demo.folder / "tables" / name, tables / name)
    if stage in AGAIN:
        demo.run(spark, stage, tables, AGAIN[stage])
    written = [table for table in ALL_TABLES if table.writer == stage]
    with _Reader(spark, demo, tables, written) as reader:
        _kill(demo.command(stage, tables), stage, wait=chance.uniform(1.0, LONGEST.get(stage, 8.0)))
        demo.run(spark, stage, tables)
    assert reader.halves == []
    for table in written:
        undisturbed = demo.table(spark, table.name)
        disturbed = spark.read.format("delta").load(str(tables / table.name))
        if table.name == "quarantine":
            undisturbed = undisturbed.where(f"stage = '{stage}'")
        assert _rows(disturbed) == _rows(undisturbed), table.name


def _rows(table: DataFrame) -> list[str]:
    """The rows as sorted JSON, without the pictures' bytes."""
    rows = table.drop("content").selectExpr("to_json(struct(*)) AS row").collect()
    return sorted(row.row for row in rows)


def _kill(command: list[str], stage: str, wait: float) -> None:
    """Starts the stage, waits until it is under way and then `wait` seconds, and kills all its processes."""
    run = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        start_new_session=True,
    )
    assert run.stderr is not None
    said = []
    for line in run.stderr:
        said.append(line)
        if f" {stage}: " in line:
            break
    else:
        pytest.fail(f"the stage ended before it began:\n{''.join(said)}")
    time.sleep(wait)
    assert run.poll() is None, "the stage was over before it could be killed: shorten the wait"
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()


class _Reader:
    """Reads the tables all along, and notes each version that is neither what was there before nor whole."""

    def __init__(self, spark: SparkSession, demo: DemoRun, tables: Path, written: list[Table]) -> None:
        self._spark, self._tables = spark, tables
        self._allowed = {table.name: {demo.table(spark, table.name).count()} for table in written}
        for name, allowed in self._allowed.items():
            allowed.add(self._count(name) if (tables / name).is_dir() else 0)
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
        while not self._stop.wait(1.0):
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
