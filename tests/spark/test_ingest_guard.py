"""Input that cannot be right empties no table, and files with odd but valid forms are read as they are meant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.landing import ingest, picture, put
from vizrec_spark.errors import InputError
from vizrec_spark.tables.schemas import INTERACTIONS, ITEMS, QUARANTINE, USERS

ITEM_LINES = [f"i{n},Item {n},i{n}.jpg" for n in range(4)]
EVENT_LINES = [f"u{n % 3},i{n % 4},view,{1_700_000_000 + n}" for n in range(8)]


def landing(folder: Path, items: list[str], events: list[str]) -> None:
    put(folder / "landing", "items.csv", "\n".join(["item_id,title,image", *items]) + "\n")
    put(folder / "landing", "events.csv", "\n".join(["user_id,item_id,event,timestamp", *events]) + "\n")


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop that was read once."""
    folder = tmp_path_factory.mktemp("guard")
    landing(folder, ITEM_LINES, EVENT_LINES)
    for n in range(4):
        put(folder / "landing", f"i{n}.jpg", picture(n))
    ingest(spark, folder)
    return folder


@pytest.mark.parametrize(
    ("items", "events", "complaints"),
    [
        (
            [f"i{n},Item,elsewhere/{n}.jpg" for n in range(4)],
            ["u1,i1,view,soon"] * 3 + EVENT_LINES[:2],
            ["interactions: 5 in .* mostly bad_timestamp", "images: .* mostly missing_file"],
        ),
        (
            [],
            [],
            [
                f"{what}: no record came in, but its table holds rows"
                for what in ("catalogue", "interactions")
            ],
        ),
        (['i9,"never closed,i9.jpg', *ITEM_LINES], EVENT_LINES, ["4 more lines lie behind a quote"]),
    ],
)
def test_tables_are_kept_when_the_input_cannot_be_right(
    spark: SparkSession, shop: Path, items: list[str], events: list[str], complaints: list[str]
) -> None:
    landing(shop, items, events)
    with pytest.raises(InputError) as refused:
        ingest(spark, shop)
    for complaint in complaints:
        assert re.search(complaint, str(refused.value))
    assert "nothing of it was published" in str(refused.value) and "max_refused_share" in str(refused.value)
    tables = shop / "tables"
    for table, rows in ((ITEMS, 4), (INTERACTIONS, 8)):
        assert spark.read.format("delta").load(str(tables / table.name)).count() == rows
    refused_rows = spark.read.format("delta").load(str(tables / QUARANTINE.name)).count()
    assert refused_rows > 0


def test_a_share_of_one_publishes_whatever_comes(spark: SparkSession, shop: Path) -> None:
    landing(shop, ITEM_LINES, ["u1,i1,view,soon", EVENT_LINES[0]])
    done = ingest(spark, shop, ["ingest.max_refused_share=1"], tables="loose")
    assert done.accounts["interactions"] == "2 in = 1 accepted + 1 quarantined (bad_timestamp 1)"


def test_an_emptied_list_of_users_stops_only_when_it_had_named_somebody(
    spark: SparkSession, tmp_path: Path
) -> None:
    landing(tmp_path, ITEM_LINES, EVENT_LINES)
    listed = [f"ingest.users.path={tmp_path}/landing/users.csv"]
    put(tmp_path / "landing", "users.csv", "user_id\n")
    for n in range(4):
        put(tmp_path / "landing", f"i{n}.jpg", picture(n))
    for _ in range(2):  # the second time table `users` holds those of the log
        assert ingest(spark, tmp_path, listed).tables.read(USERS).count() == 3
    put(tmp_path / "landing", "users.csv", "user_id\nnew\n")
    assert ingest(spark, tmp_path, listed).tables.read(USERS).count() == 4
    put(tmp_path / "landing", "users.csv", "user_id\n")
    with pytest.raises(InputError, match="users: no record came in"):
        ingest(spark, tmp_path, listed)


def test_quoted_line_breaks_windows_line_ends_and_odd_blanks(spark: SparkSession, tmp_path: Path) -> None:
    text = 'item_id,title,image\r\nA,"first\r\nB,line",plain.jpg\r\n\tC\u00a0,"say ""hi""",\r\n'
    put(tmp_path / "landing", "items.csv", text)
    put(tmp_path / "landing", "events.csv", "user_id,item_id,event,timestamp\r\n\tu ,C,view,1700000000\r\n")
    pictures = tmp_path / "a[1]{x}*"  # Spark would read this as a pattern
    put(pictures, "plain.jpg", picture())
    put(pictures, "empty.jpg", b"")
    done = ingest(spark, tmp_path, [f"ingest.images.path='{pictures}'"])
    items = {row.item_id: row.title.replace("\r\n", "\n") for row in done.tables.read(ITEMS).collect()}
    assert items == {"A": "first\nB,line", "C": 'say "hi"'}
    assert [row.path for row in done.images] == ["plain.jpg"]
    assert [(row.reason, row.record) for row in done.refused] == [("unknown_item", "empty.jpg")]
    assert [(row.user_id, row.item_id) for row in done.tables.read(INTERACTIONS).collect()] == [("u", "C")]


def test_of_twins_the_record_that_says_most_stays(spark: SparkSession, tmp_path: Path) -> None:
    landing(tmp_path, ["007,,", "007,Bond,bond.jpg"], EVENT_LINES[:0])
    put(tmp_path / "landing", "bond.jpg", picture())
    done = ingest(spark, tmp_path)
    assert [(row.item_id, row.title) for row in done.tables.read(ITEMS).collect()] == [("007", "Bond")]


@pytest.mark.parametrize(
    ("override", "advice"),
    [
        ("ingest.images.path={root}/landing/items.csv", "is a file; name the folder"),
        ("ingest.catalogue.path=s3a://nowhere/items.csv", "ingest.catalogue.path: cannot read s3a://nowhere"),
        ("ingest.catalogue.path={root}/landing/semicolons.csv", r'options: \{sep: ";"\}'),
        ("ingest.catalogue.path={root}/landing/utf16.csv", "name its encoding"),
    ],
)
def test_what_cannot_be_read_is_said_with_advice(
    spark: SparkSession, shop: Path, override: str, advice: str
) -> None:
    landing(shop, ITEM_LINES, EVENT_LINES)
    put(shop / "landing", "semicolons.csv", "item_id;title;image\ni1;Item;\n")
    put(shop / "landing", "utf16.csv", "item_id,title,image\ni1,Item,\n".encode("utf-16"))
    with pytest.raises(InputError, match=advice):
        ingest(spark, shop, [override.format(root=shop)])
