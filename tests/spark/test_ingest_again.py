"""Stage `ingest` run again: nothing is decoded twice, what changed is, what vanished goes."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from pyspark.sql import Row, SparkSession

from tests.landing import Ingested, ingest, picture, put
from vizrec_spark.config.models import ImagesConfig
from vizrec_spark.ingest.images import match_files
from vizrec_spark.tables.schemas import IMAGES, INTERACTIONS, ITEMS, USERS

NAMES = [
    "plain.jpg",
    "two words.jpg",
    "100%.jpg",
    "a%20b.jpg",
    "a+b.jpg",
    "größe.jpg",
    "below/deeper/x.jpg",
    "LOUD.JPG",
    "hash#1?.png",
    "[brackets].jpg",
]
N = len(NAMES)


def state(run: Ingested) -> dict[str, list[Row]]:
    """All tables of the stage, sorted."""
    frames = {t.name: run.tables.read(t).collect() for t in (ITEMS, INTERACTIONS, USERS)}
    return {name: sorted(rows, key=repr) for name, rows in frames.items()} | {
        "images": run.images,
        "quarantine": sorted(run.refused, key=repr),
    }


class Story(NamedTuple):
    """Three runs: from nothing, unchanged, and after changes; each with the tables after it."""

    first: Ingested
    second: Ingested
    third: Ingested
    after_first: dict[str, list[Row]]
    after_second: dict[str, list[Row]]


@pytest.fixture(scope="module")
def story(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("again")
    landing = folder / "landing"
    items = [f"i{n},{name}" for n, name in enumerate(NAMES)]
    # One picture for two items, one item with two pictures, and two spellings of one path.
    items += ["twin,./plain.jpg", "pair,plain.jpg|/two words.jpg|two words.jpg"]
    put(landing, "items.csv", "item_id,image\n" + "\n".join(items) + "\n")
    put(landing, "events.csv", "user_id,item_id,event,timestamp\nanna,i1,view,1700000000\n")
    for n, name in enumerate(NAMES):
        put(landing, name, picture(n, kind="PNG" if name.endswith("png") else "JPEG"))
    overrides = ["ingest.catalogue.columns.title=null"]
    first = ingest(spark, folder, overrides)
    after_first = state(first)

    for name in NAMES:  # garbage of the same size and age: whoever opens it again will see
        file = landing / name
        old = file.stat()
        file.write_bytes(b"\0" * old.st_size)
        os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    second = ingest(spark, folder, overrides)
    after_second = state(second)

    put(landing, "two words.jpg", picture(77, side=30))
    (landing / "a+b.jpg").unlink()
    return Story(first, second, ingest(spark, folder, overrides), after_first, after_second)


def test_a_lower_limit_holds_for_pictures_of_earlier_runs_too(spark: SparkSession) -> None:
    modified = datetime(2024, 5, 1, tzinfo=UTC)
    files = spark.createDataFrame(
        [("small.png", 9, modified), ("large.png", 9, modified)],
        "path string, bytes long, modified timestamp",
    )
    names = spark.createDataFrame([("a", "small.png"), ("b", "large.png")], "item_id string, path string")
    rows = [
        ("a", "small.png", "s", 10, 10, "PNG", 9, modified, b""),
        ("b", "large.png", "t", 10, 11, "PNG", 9, modified, b""),
    ]
    table = spark.createDataFrame(rows, IMAGES.schema)
    matched = match_files(names, files, table, ImagesConfig(max_pixels=100)).collect()
    assert {row.path: row.known for row in matched} == {"small.png": True, "large.png": False}


def test_every_picture_is_found_and_read_whole(story: Story) -> None:
    found = {(row.item_id, row.path): row for row in story.after_first["images"]}
    expected = {(f"i{n}", name) for n, name in enumerate(NAMES)}
    assert set(found) == expected | {("twin", "plain.jpg"), ("pair", "plain.jpg"), ("pair", "two words.jpg")}
    for n, name in enumerate(NAMES):
        content = picture(n, kind="PNG" if name.endswith("png") else "JPEG")
        row = found[f"i{n}", name]
        assert row.content == content
        assert (row.sha256, row.bytes) == (hashlib.sha256(content).hexdigest(), len(content))
        assert (row.width, row.height) == (24, 24)
        assert row.format == ("PNG" if name.endswith("png") else "JPEG")
    assert story.first.accounts["images"] == f"{N + 3} in = {N + 3} accepted + 0 quarantined"


def test_each_file_is_decoded_once(story: Story) -> None:
    assert story.first.decoded == N


def test_the_second_run_decodes_nothing_and_leaves_the_tables_equal(story: Story) -> None:
    assert story.second.decoded == 0
    assert story.after_second == story.after_first
    images = {w.table: w for w in story.second.result.written}["images"]
    assert (images.rows, images.changed) == (N + 3, 0)
    assert story.second.accounts == story.first.accounts


def test_a_changed_file_is_decoded_again_and_a_vanished_one_goes(story: Story) -> None:
    assert story.third.decoded == 1
    images = {(row.item_id, row.path): row for row in story.third.images}
    before = {(row.item_id, row.path): row for row in story.after_first["images"]}
    changed = {("i1", "two words.jpg"), ("pair", "two words.jpg")}
    gone = ("i4", "a+b.jpg")
    assert set(images) == set(before) - {gone}
    assert {key for key in images if images[key] != before[key]} == changed
    assert all(images[key].width == 30 and images[key].content == picture(77, side=30) for key in changed)
    assert [(r.source, r.reason, r.record, r.key) for r in story.third.refused] == [
        ("images", "missing_file", "a+b.jpg", "i4")
    ]


def test_the_changes_are_one_commit(story: Story) -> None:
    versions = [
        {w.table: w.version for w in run.result.written}["images"] for run in (story.second, story.third)
    ]
    assert versions[1] == versions[0] + 1


def test_a_picture_refused_long_ago_does_not_make_the_others_be_read_again(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Spark refuses to read a file longer than `maxLength`: the second run shows that it opens the small ones alone."""
    landing = tmp_path / "landing"
    contents = {f"large{n}.png": picture(n, side=60, kind="PNG") for n in range(3)}
    contents |= {f"broken{n}.jpg": b"no picture" for n in range(3)}
    put(landing, "events.csv", "user_id,item_id,event,timestamp\nanna,large0,view,1700000000\n")
    overrides = ["ingest.catalogue.columns.title=null"]

    def write_items() -> None:
        rows = [f"{name.partition('.')[0]},{name}" for name in contents]
        put(landing, "items.csv", "item_id,image\n" + "\n".join(rows) + "\n")

    write_items()
    for age, (name, content) in enumerate(contents.items()):
        moment = 1_700_000_000 - 1000 * age
        os.utime(put(landing, name, content), (moment, moment))
    assert ingest(spark, tmp_path, overrides).decoded == 6
    contents["new.jpg"] = picture(9, side=16)
    write_items()
    put(landing, "new.jpg", contents["new.jpg"])
    spark.conf.set("spark.sql.sources.binaryFile.maxLength", 5000)
    try:
        assert len(contents["large0.png"]) > 5000 > len(contents["new.jpg"])
        again = ingest(spark, tmp_path, overrides)
    finally:
        spark.conf.unset("spark.sql.sources.binaryFile.maxLength")
    assert again.decoded == 4
    assert [row.path for row in again.images] == ["large0.png", "large1.png", "large2.png", "new.jpg"]
