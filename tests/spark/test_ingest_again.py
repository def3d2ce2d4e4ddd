"""Stage `ingest` run again: nothing is decoded twice, what changed is, what vanished goes."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
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
CHANGED = picture(77, side=12)
BROKEN = [f"broken{n}.jpg" for n in range(3)]


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
    put(landing, "users.csv", "user_id\n")
    for n, name in enumerate(NAMES):
        put(landing, name, picture(n, kind="PNG" if name.endswith("png") else "JPEG"))
    overrides = ["ingest.catalogue.columns.title=null", f"ingest.users.path={landing / 'users.csv'}"]
    first = ingest(spark, folder, overrides)
    after_first = state(first)

    for name in NAMES:  # garbage of the same size and age: whoever opens it again will see
        file = landing / name
        old = file.stat()
        file.write_bytes(b"\0" * old.st_size)
        os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    second = ingest(spark, folder, overrides)
    after_second = state(second)

    put(landing, "two words.jpg", CHANGED)
    (landing / "a+b.jpg").unlink()
    items += [f"{name.partition('.')[0]},{name}" for name in BROKEN]
    put(landing, "items.csv", "item_id,image\n" + "\n".join(items) + "\n")
    for age, name in enumerate(BROKEN):
        moment = 1_700_000_000 - 1000 * age
        os.utime(put(landing, name, b"no picture"), (moment, moment))
    # Spark refuses to read a file longer than this: so it opens none of those that are as they were.
    assert all(
        (landing / name).stat().st_size > len(CHANGED) for name in set(NAMES) - {"two words.jpg", "a+b.jpg"}
    )
    spark.conf.set("spark.sql.sources.binaryFile.maxLength", len(CHANGED))
    try:
        third = ingest(spark, folder, overrides)
    finally:
        spark.conf.unset("spark.sql.sources.binaryFile.maxLength")
    return Story(first, second, third, after_first, after_second)


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
    images = {(row.item_id, row.path): row for row in story.third.images}
    before = {(row.item_id, row.path): row for row in story.after_first["images"]}
    changed = {("i1", "two words.jpg"), ("pair", "two words.jpg")}
    gone = ("i4", "a+b.jpg")
    assert set(images) == set(before) - {gone}
    assert {key for key in images if images[key] != before[key]} == changed
    assert all(images[key].width == 12 and images[key].content == CHANGED for key in changed)
    assert [(r.source, r.record, r.key) for r in story.third.refused if r.reason == "missing_file"] == [
        ("images", "a+b.jpg", "i4")
    ]


def test_pictures_older_than_the_newest_that_is_kept_do_not_make_the_others_be_read_again(
    story: Story,
) -> None:
    """Such as those that were refused in earlier runs, of which nothing is remembered: each is looked at anew."""
    assert story.third.decoded == 1 + len(BROKEN)
    others = [(r.reason, r.record) for r in story.third.refused if r.reason != "missing_file"]
    assert sorted(others) == [("not_an_image", name) for name in BROKEN]


def test_an_empty_list_of_users_stops_nothing_where_it_had_named_nobody(story: Story) -> None:
    """Nor the second time, when table `users` holds those of the log."""
    for rows in (story.after_first, story.after_second):
        assert [row.user_id for row in rows["users"]] == ["anna"]


def test_the_changes_are_one_commit(story: Story) -> None:
    versions = [
        {w.table: w.version for w in run.result.written}["images"] for run in (story.second, story.third)
    ]
    assert versions[1] == versions[0] + 1
