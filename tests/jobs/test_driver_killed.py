"""A driver that is killed at any moment, or runs beside another: readers meet whole versions, tables end the same."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.jobs.conftest import PIPELINE_TABLES, SHORT_LIVED, DemoRun, rows_of, started
from tests.jobs.versions import halves, latest, met, of_models_in_use, strange
from vizrec_spark.config.models import TablesConfig
from vizrec_spark.errors import WriteConflict
from vizrec_spark.serve import columns
from vizrec_spark.serve.delta import TableFolder

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

KILLS = 10
# What is different after the change that the drivers are to bring about.
CHANGE = ["ingest.catalogue.columns.price=null", "similar.k=7", "als.rank=6", "recommend.k=12"]
READ = (
    columns.ITEMS,
    columns.INTERACTIONS,
    columns.ITEM_NEIGHBORS,
    columns.RECOMMENDATIONS,
    columns.EMBEDDINGS,
)


class Reader(threading.Thread):
    """Asks again and again for the latest version of each table, as the service does, and reads each that is new."""

    def __init__(self, tables: Path) -> None:
        super().__init__(daemon=True)
        self.seen: dict[tuple[str, int], int] = {}
        self.failed: Exception | None = None
        self._folder = TableFolder(TablesConfig(root=str(tables)))
        self._stop_asked = threading.Event()

    def run(self) -> None:
        try:
            while not self._stop_asked.wait(0.05):
                for source in READ:
                    opened = self._folder.open(source)
                    assert opened is not None, f"{source.name} has gone"
                    if (source.name, opened.version) not in self.seen:
                        rows = opened.table(source.columns)
                        self.seen[source.name, opened.version] = 0 if rows is None else len(rows)
        except Exception as error:
            self.failed = error

    def end(self) -> dict[str, set[int]]:
        """The numbers of rows that were met, by table."""
        self._stop_asked.set()
        self.join()
        if self.failed is not None:
            raise self.failed
        return {s.name: {n for (name, _), n in self.seen.items() if name == s.name} for s in READ}


@contextmanager
def pipeline(demo: DemoRun, tables: Path, change: list[str], said: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The whole pipeline in processes of its own, which are killed when the body ends, if they have not ended."""
    command = [*demo.command("pipeline", tables), *(word for pair in change for word in ("--set", pair))]
    with started(command, said, {**os.environ, **SHORT_LIVED}) as run:
        yield run


def finished(demo: DemoRun, tables: Path, said: Path) -> None:
    with pipeline(demo, tables, CHANGE, said) as run:
        assert run.wait(1000) == 0, said.read_text()


@pytest.fixture(scope="module")
def changed(demo: DemoRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The demo's tables after the change, which nothing has disturbed, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("changed")
    shutil.copytree(demo.folder / "tables", folder / "tables")
    began = time.monotonic()
    finished(demo, folder / "tables", folder / "said")
    return folder / "tables", time.monotonic() - began


def test_a_driver_killed_at_random_moments(
    demo: DemoRun, spark: SparkSession, tmp_path: Path, changed: tuple[Path, float]
) -> None:
    tables, generator = tmp_path / "tables", random.Random(5)
    wanted, length = changed
    shutil.copytree(demo.folder / "tables", tables)
    since = {table.name: latest(spark, tables, table) for table in PIPELINE_TABLES}
    reader = Reader(tables)
    reader.start()
    killed = 0
    try:
        for _ in range(2 * KILLS):  # some may have ended before
            # To and fro, so that there is something to change each time.
            with pipeline(demo, tables, [] if killed % 2 else CHANGE, tmp_path / "said") as run:
                moment = generator.uniform(0.05, 0.95) * length
                time.sleep(moment)
            killed += run.returncode == -signal.SIGKILL
            print(f"{moment:.0f} s of about {length:.0f}: {run.returncode}", flush=True)
            if killed == KILLS:
                break
        finished(demo, tables, tmp_path / "said")
    finally:
        seen = reader.end()
    assert killed == KILLS
    states = demo.folder / "tables", wanted
    for table in PIPELINE_TABLES:
        allowed = met(spark, table, *states)
        assert halves(spark, tables, table, since[table.name], allowed) == []
        assert strange(spark, tables, table, since[table.name], *states) == []
        assert seen.get(table.name, set()) <= allowed
    assert all(len(numbers) > 0 for numbers in seen.values()) and len(reader.seen) > len(READ)
    same(spark, tables, wanted)


def test_two_drivers_at_once(
    demo: DemoRun, spark: SparkSession, tmp_path: Path, changed: tuple[Path, float]
) -> None:
    tables = tmp_path / "tables"
    wanted, _ = changed
    shutil.copytree(demo.folder / "tables", tables)
    since = {table.name: latest(spark, tables, table) for table in PIPELINE_TABLES}
    said = [tmp_path / name for name in ("one", "other")]
    with (
        pipeline(demo, tables, CHANGE, said[0]) as one,
        pipeline(demo, tables, CHANGE, said[1]) as other,
    ):
        ended = [run.wait(1000) for run in (one, other)]
    print(ended, [re.findall("Error: .*", file.read_text()) for file in said])
    assert 0 in ended, said[0].read_text() + said[1].read_text()
    for code, file in zip(ended, said, strict=True):
        # The other has won a table.
        told = " ".join(file.read_text().split())
        assert code == 0 or (code == WriteConflict.exit_code and "another run" in told), told
    for table in PIPELINE_TABLES:
        states = demo.folder / "tables", wanted
        assert halves(spark, tables, table, since[table.name], met(spark, table, *states)) == []
        assert strange(spark, tables, table, since[table.name], *states) == []
    same(spark, tables, wanted)


def same(spark: SparkSession, tables: Path, wanted: Path) -> None:
    """Each table of the pipeline holds the same rows in both places, but for models that are no longer used."""
    for table in PIPELINE_TABLES:
        found, undisturbed = (
            spark.read.format("delta").load(str(place / table.name)) for place in (tables, wanted)
        )
        found = of_models_in_use(table, found, undisturbed)
        assert rows_of(found) == rows_of(undisturbed), table.name
