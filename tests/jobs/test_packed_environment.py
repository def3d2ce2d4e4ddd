"""A packed environment, as docs/operations.md has it made, is all of this package that executors need."""

from __future__ import annotations

import os
import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from tests.jobs.cluster import can_hide, standalone
from tests.jobs.conftest import DemoRun


@pytest.fixture(scope="module")
def archive(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by the page's own commands, some minutes; compressed less, for that takes the longest."""
    folder = tmp_path_factory.mktemp("packed")
    page = (repository / "docs" / "operations.md").read_text(encoding="utf-8")
    [commands] = [block for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "venv-pack" in block]
    commands = commands.replace("/tmp/vizrec-env", str(folder / "env")).replace("dist/", f"{folder}/")
    script = commands.replace("venv-pack -p", "venv-pack --compress-level 1 -p")
    subprocess.run(["sh", "-ec", script], cwd=repository, check=True, timeout=1800)
    return folder / "vizrec-env.tar.gz"


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_executors_run_on_it_alone(
    demo: DemoRun, repository: Path, spark: SparkSession, tmp_path: Path, archive: Path
) -> None:
    """The workers do not see the checkout's package: what runs there can only be the archive's."""
    assert can_hide(), "needs a mount namespace, in which the checkout can be hidden"
    tables, said, met = tmp_path / "tables", tmp_path / "said", set[str]()
    packed = (f"spark.archives={archive}#environment", "spark.pyspark.python=./environment/bin/python")
    with standalone(repository, tmp_path / "cluster", hidden=[repository / "vizrec_spark"]) as cluster:
        settings = [word for pair in demo.overrides(tables) for word in ("--set", pair)]
        for job in ("ingest", "embed"):
            command = cluster.command(repository, job, *settings)
            command[1:1] = [word for pair in packed for word in ("--conf", pair)]
            with said.open("a") as out:
                run = subprocess.Popen(
                    command, stdout=out, stderr=out, env=cluster.environment(), cwd=tmp_path
                )
            try:
                while run.poll() is None:
                    met |= pythons(cluster.workers)
                    time.sleep(0.3)
            finally:
                run.kill()
                run.wait()
            assert run.returncode == 0, said.read_text()
    assert met == {"environment"}
    found, wanted = (
        {(row.sha256, row.encoder_id): row.vector for row in table.collect()}
        for table in (
            spark.read.format("delta").load(str(tables / "embeddings")),
            demo.table(spark, "embeddings"),
        )
    )
    assert found.keys() == wanted.keys()
    np.testing.assert_allclose([found[key] for key in wanted], list(wanted.values()), rtol=1e-4, atol=1e-5)


def pythons(workers: tuple[Path, ...]) -> set[str]:
    """Of the Python processes below the workers' folders: the folder beside the executor's own that they run from."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may end meanwhile
            place, words = (process / "cwd").readlink(), (process / "cmdline").read_bytes().split(b"\0")
            if any(place.is_relative_to(worker) for worker in workers) and b"python" in words[0]:
                found.add(os.fsdecode(words[0]).removeprefix("./").split("/")[0])
    return found
