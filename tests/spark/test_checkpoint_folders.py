"""Checkpoint folders of runs that were killed go with the next run; those in use stay."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from vizrec_spark.als.checkpoints import checkpoints
from vizrec_spark.scratch import claimed, remove_abandoned

OTHER_RUN = """
import sys, time
from pathlib import Path
from vizrec_spark.scratch import claimed
with claimed(Path(sys.argv[1])):
    print("claimed", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with a checkpoint in each."""
    for name in ("one", "two"):
        (tmp_path / name / "rdd-7").mkdir(parents=True)
        (tmp_path / name / "rdd-7" / "part-00000").write_bytes(b"rows")
    return tmp_path / "one", tmp_path / "two"


@pytest.fixture
def other_run(folders: tuple[Path, Path]) -> Iterator[subprocess.Popen[str]]:
    """Another process that has claimed the first."""
    command = [sys.executable, "-c", OTHER_RUN, str(folders[0])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "claimed\n"
        yield process
        process.kill()


def test_a_folder_goes_when_its_process_was_killed_and_not_before(
    spark: SparkSession, folders: tuple[Path, Path], other_run: subprocess.Popen[str]
) -> None:
    theirs, nobodys = folders
    with checkpoints(spark, str(theirs.parent)):
        assert len(list(theirs.parent.iterdir())) == 3
        assert theirs.is_dir(), "its run goes on"
    other_run.kill()
    other_run.wait()
    assert theirs.is_dir(), "nobody has looked"
    with checkpoints(spark, str(theirs.parent)):
        assert not theirs.exists()
        assert spark.range(3).checkpoint().count() == 3
        with checkpoints(spark, str(theirs.parent)):  # another run, which must not take this one for dead
            pass
        assert any(theirs.parent.glob("*/rdd-*"))
    assert list(nobodys.parent.iterdir()) == [nobodys], "it was never claimed"


def test_a_claim_holds_against_ones_own_process(folders: tuple[Path, Path]) -> None:
    with claimed(folders[0]):
        remove_abandoned(folders[0].parent)
        assert folders[0].is_dir()
    remove_abandoned(folders[0].parent)
    assert not folders[0].exists() and folders[1].is_dir()
