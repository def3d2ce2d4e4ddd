"""The whole pipeline by spark-submit on a cluster, some of whose executors are killed on the way."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from tests.conftest import UNCOMPILED
from tests.jobs.cluster import Cluster, can_hide, standalone
from tests.jobs.conftest import PIPELINE_TABLES, DemoRun, started
from vizrec_spark.app.stages import BY_NAME, PIPELINE
from vizrec_spark.tables import Table

# Stages in which an executor is killed, until the driver has lost a task by it.
WOUNDED = ("embed", "similar", "als")
# Stages in which the driver is killed.
DEADLY = ("embed", "als")
LOST = "ExecutorLostFailure"
BY_PLAN = ("plan", "n_reranked")


@pytest.mark.timeout(2400)
def test_a_pipeline_whose_executors_are_killed_writes_the_same_tables(
    demo: DemoRun, repository: Path, spark: SparkSession, tmp_path: Path
) -> None:
    """Executors in processes and folders of their own, that share nothing with the driver but tables, landing files and
    `als.checkpoint_dir`: its encoder, its temporary and its working folder are not there for them."""
    assert can_hide() or "CI" not in os.environ
    tables, said = tmp_path / "tables", tmp_path / "said"
    with (
        standalone(repository, tmp_path / "cluster") as cluster,
        submitted(cluster, repository, demo, tables, said) as run,
    ):
        wounded = strike(cluster, run, said)
        assert run.wait(1000) == 0, said.read_text()
    assert wounded == list(WOUNDED), said.read_text()
    assert f"{len(PIPELINE)} stages in" in said.read_text()
    last = spark.sql(f"DESCRIBE HISTORY delta.`{tables / 'item_factors'}`").first()
    assert last is not None and json.loads(last.userMetadata)["run_id"] == "by-spark-submit"
    for table in PIPELINE_TABLES:
        found = spark.read.format("delta").load(str(tables / table.name))
        assert differences(table, found, demo.table(spark, table.name)) == []
    used = [worker for worker in cluster.workers if list(worker.glob("app-*/*/stderr"))]
    assert used == list(cluster.workers)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_executors_that_outlive_their_driver_spoil_nothing(
    demo: DemoRun, repository: Path, spark: SparkSession, tmp_path: Path
) -> None:
    """They are at work when it is killed, and the next driver begins while they may be still."""
    tables = tmp_path / "tables"
    with standalone(repository, tmp_path / "cluster") as cluster:
        for stage in DEADLY:
            with submitted(cluster, repository, demo, tables, said := tmp_path / stage) as run:
                while f"{stage}: {BY_NAME[stage].summary}" not in said.read_text() or not cluster.executors():
                    assert run.poll() is None, said.read_text()
                    time.sleep(0.1)
                time.sleep(2.0)
                assert f"{stage}: done" not in said.read_text()
                at_work = cluster.executors()
                os.killpg(run.pid, signal.SIGKILL)
                assert any(Path(f"/proc/{pid}").exists() for pid in at_work)
        with submitted(cluster, repository, demo, tables, said := tmp_path / "last") as run:
            assert run.wait(1000) == 0, said.read_text()
    for table in PIPELINE_TABLES:
        found = spark.read.format("delta").load(str(tables / table.name))
        assert differences(table, found, demo.table(spark, table.name)) == []


@contextmanager
def submitted(
    cluster: Cluster, repository: Path, demo: DemoRun, tables: Path, said: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """The pipeline on the cluster by spark-submit; the driver is killed when the body ends, if it has not ended."""
    own = [
        f"embed.cache={cluster.drivers / 'encoders'}",
        f"report.path={cluster.drivers / 'report.html'}",
    ]
    settings = [word for pair in (*demo.overrides(tables), *own) for word in ("--set", pair)]
    command = cluster.command(repository, "pipeline", *settings, "--run-id", "by-spark-submit")
    # Spark's own log tells of tasks that were lost. To compile code for so few rows would cost more than running it.
    conf = {"spark.log.level": "WARN", **UNCOMPILED}
    command[1:1] = [word for key, value in conf.items() for word in ("--conf", f"{key}={value}")]
    with started(command, said, cluster.environment(), cluster.drivers) as run:
        yield run


def differences(table: Table, found: DataFrame, wanted: DataFrame) -> list[str]:
    """Where the two differ, by key and column: numbers, which are added up in another order there, by more than 1e-5.

    Columns of `BY_PLAN` tell how look-alikes were searched, which is done otherwise on a cluster.
    """
    keys = table.key or tuple(wanted.columns)
    rows = [frame.collect() for frame in (found, wanted)]
    here, there = ({tuple(row[k] for k in keys): row.asDict(True) for row in some} for some in rows)
    told = [f"{len(rows[0])} rows for {len(rows[1])}"] if len(rows[0]) != len(rows[1]) else []
    told += [f"{key} is in one alone" for key in here.keys() ^ there.keys()]
    for key in here.keys() & there.keys():
        told += [
            f"{key}.{name}: {here[key][name]} for {value}"
            for name, value in there[key].items()
            if name not in BY_PLAN and not alike(here[key][name], value)
        ]
    return told


def alike(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-6)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return one == other


def strike(cluster: Cluster, run: subprocess.Popen[bytes], said: Path) -> list[str]:
    """In each stage of `WOUNDED`, kills executors until the driver has lost a task by it; those in which it has.

    Each one that dies idle gives the next a second more to come up and begin: how long that takes, a machine knows.
    """
    wounded = []
    for stage in WOUNDED:
        while f"{stage}: {BY_NAME[stage].summary}" not in (text := said.read_text()):
            if run.poll() is not None:
                return wounded
            time.sleep(0.2)
        before, kills, since = text.count(LOST), 0, dict[int, float]()
        while f"{stage}: done" not in (text := said.read_text()) and run.poll() is None:
            if text.count(LOST) > before:
                wounded.append(stage)
                break
            now = time.monotonic()
            since = {pid: since.get(pid, now) for pid in cluster.executors()}
            for executor in [pid for pid, seen in since.items() if now - seen > 1.0 + kills][:1]:
                os.kill(executor, signal.SIGKILL)
                kills += 1
            time.sleep(0.2)
    return wounded
