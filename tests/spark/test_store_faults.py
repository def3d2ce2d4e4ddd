"""A store that is full or closed for writing: one message that says what to do, and nothing is lost."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import Row, SparkSession

from tests.disks import small_disk
from tests.jobs.conftest import settings_kept
from tests.landing import picture, put
from vizrec_spark.app.cli import main
from vizrec_spark.errors import DiskSpaceError, StorageError

TABLES = ("items", "images", "interactions")


@pytest.fixture(autouse=True)
def settings(spark: SparkSession) -> Iterator[None]:
    """The commands leave their settings in the session."""
    with settings_kept(spark):
        yield


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    with small_disk(tmp_path / "disk", megabytes=4) as folder:
        yield folder


def landed(folder: Path, items: int) -> list[str]:
    """A shop of so many items, each with a picture and a view; what makes stage `ingest` read it."""
    numbers = range(items)
    put(folder, "items.csv", "item_id,title,image\n" + "".join(f"i{n},Hat,{n}.jpg\n" for n in numbers))
    log = "".join(f"u,i{n},view,1700000000\n" for n in numbers)
    put(folder, "events.csv", f"user_id,item_id,event,timestamp\n{log}")
    for n in numbers:
        put(folder, f"{n}.jpg", picture(n, side=200))
    paths = {"catalogue": "items.csv", "interactions": "events.csv", "images": ""}
    return [f"ingest.{section}.path={folder / name}" for section, name in paths.items()]


def ingested(spark: SparkSession, disk: Path, settings: list[str]) -> tuple[int, dict[str, list[Row]]]:
    """The exit code of `vizrec ingest` into tables on `disk`, and what they hold then."""
    pairs = [f"tables.root={disk / 'tables'}", *settings]
    code = main(["ingest", *(word for pair in pairs for word in ("--set", pair))])
    read = (spark.read.format("delta").load(str(disk / "tables" / name)) for name in TABLES)
    return code, {
        name: frame.orderBy(frame.columns[0]).collect() for name, frame in zip(TABLES, read, strict=True)
    }


def test_a_full_disk(
    spark: SparkSession, tmp_path: Path, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, before = ingested(spark, disk, landed(tmp_path / "landing", 10))
    assert code == 0 and len(before["images"]) == 10
    settings = landed(tmp_path / "landing", 200)
    code, after = ingested(spark, disk, settings)
    told = capsys.readouterr().err
    assert code == DiskSpaceError.exit_code
    # Each table is as it was, or whole; pictures are written last.
    assert after["images"] == before["images"] and {len(rows) for rows in after.values()} <= {10, 200}
    assert "Error: A disk is full: No space left on device. Make room where `tables.root`" in told
    assert "Traceback" not in told and "java." not in told
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    code, whole = ingested(spark, disk, settings)
    assert code == 0 and {name: len(rows) for name, rows in whole.items()} == dict.fromkeys(TABLES, 200)


def test_a_store_that_is_closed_for_writing(
    spark: SparkSession, tmp_path: Path, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = landed(tmp_path / "landing", 3)
    assert ingested(spark, disk, settings)[0] == 0
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    code, kept = ingested(spark, disk, landed(tmp_path / "landing", 4))
    told = capsys.readouterr().err
    assert code == StorageError.exit_code and len(kept["items"]) == 3
    assert "Error: A folder cannot be written: " in told and "mounted for writing" in told
    assert str(disk / "tables") in told
    assert "Traceback" not in told and "java." not in told
