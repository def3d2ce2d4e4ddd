"""One real run of the demo, which the tests of jobs and pipeline look at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from tests.conftest import UNCOMPILED
from vizrec_spark.app.cli import main
from vizrec_spark.app.folder import folder_overrides
from vizrec_spark.app.stages import BY_NAME
from vizrec_spark.config import load_config
from vizrec_spark.session import UNSUMMED_FILES
from vizrec_spark.stage import StageContext, StageResult
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.schemas import ALL_TABLES, IMAGE_LABELS, SEGMENTS

SIZE = ["--items", "240", "--users", "150", "--events", "6000"]
# Said outright, so that a run is the same with and without a network.
ENCODER = "embed.encoder=efficientnet_lite0"
# A JVM that lives for seconds spends more on its second compiler than that gives back.
SHORT_LIVED = {"SPARK_SUBMIT_OPTS": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC"}
# Labels come of adapted encoders, segments of a column of the users file: the demo has neither.
PIPELINE_TABLES = [
    table for table in ALL_TABLES if table.writer in BY_NAME and table not in (IMAGE_LABELS, SEGMENTS)
]


@contextmanager
def settings_kept(spark: SparkSession) -> Iterator[None]:
    """A command that runs in this process's session leaves its Spark settings there: they are as before, after."""
    before = spark.conf.getAll
    yield
    for key, value in spark.conf.getAll.items():
        if key in before and before[key] != value and spark.conf.isModifiable(key):
            spark.conf.set(key, before[key])
        elif key not in before and spark.conf.isModifiable(key):
            spark.conf.unset(key)


@pytest.fixture(autouse=True)
def settings_stay_in_their_test(spark: SparkSession) -> Iterator[None]:
    """The next test has its own settings."""
    with settings_kept(spark):
        yield


@contextmanager
def started(
    command: list[str], said: Path, environment: dict[str, str], folder: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A command with a group of its own that adds to file `said`; killed when the body ends, if it has not ended."""
    with said.open("ab") as out:
        run = subprocess.Popen(
            command, stdout=out, stderr=out, start_new_session=True, env=environment, cwd=folder
        )
    try:
        yield run
    finally:
        with suppress(ProcessLookupError):  # it has ended
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def vizrec(*arguments: str, timeout: int = 1000) -> subprocess.CompletedProcess[str]:
    """Runs the console command as a user does, wide enough that nothing wraps."""
    command = [str(Path(sys.executable).with_name("vizrec")), *arguments]
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)


def rows_of(table: DataFrame) -> list[str]:
    """The rows as sorted JSON, without the pictures' bytes."""
    rows = table.drop("content").selectExpr("to_json(struct(*)) AS row").collect()
    return sorted(row.row for row in rows)


@dataclass(frozen=True)
class DemoRun:
    """A finished demo: its folder and what it printed."""

    folder: Path
    stdout: str
    stderr: str

    def table(self, spark: SparkSession, name: str) -> DataFrame:
        """A table that the demo wrote."""
        return spark.read.format("delta").load(str(self.folder / "tables" / name))

    def overrides(self, tables: Path) -> list[str]:
        """What makes a stage read the demo's files and write below `tables`."""
        return [
            f"tables.root={tables}",
            *folder_overrides(self.folder / "landing"),
            ENCODER,
            f"embed.cache={self.folder / 'encoders'}",
            f"als.checkpoint_dir={self.folder / 'checkpoints'}",
            f"report.path={tables.parent / 'report.html'}",
        ]

    def command(self, stage: str, tables: Path) -> list[str]:
        """The command line that runs one stage on `tables`."""
        conf = {
            "spark.sql.shuffle.partitions": "4",
            "spark.databricks.delta.snapshotPartitions": "1",
            **UNSUMMED_FILES,
            **UNCOMPILED,
        }
        small = f"spark.conf={json.dumps(conf)}"
        pairs = [*self.overrides(tables), "spark.master=local[2]", small]
        return [
            str(Path(sys.executable).with_name("vizrec")),
            stage,
            *(x for p in pairs for x in ("--set", p)),
        ]

    def run(self, spark: SparkSession, stage: str, tables: Path, *overrides: str) -> StageResult:
        """Runs one stage on `tables` in this process."""
        config = load_config(None, [*self.overrides(tables), *overrides])
        store = TableStore(spark, config.tables, Stamp("test", stage, config.fingerprint()))
        return BY_NAME[stage].run(StageContext(spark, config, store, "test"))


@pytest.fixture(scope="session")
def demo(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """In this process's session: a JVM of its own would spend most of the run on warming up."""
    folder, out, err = tmp_path_factory.mktemp("demo"), StringIO(), StringIO()
    command = ["demo", "--folder", str(folder), *SIZE, "--set", ENCODER]
    with pytest.MonkeyPatch.context() as environment, settings_kept(spark):
        environment.setenv("COLUMNS", "200")  # wide enough that nothing wraps
        environment.setenv("NO_COLOR", "1")
        with redirect_stdout(out), redirect_stderr(err):
            code = main(command)
    assert code == 0, err.getvalue()
    return DemoRun(folder, out.getvalue(), err.getvalue())
