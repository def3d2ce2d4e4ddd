"""Input that cannot be right empties no table, and files with odd but valid forms are read as they are meant."""

from __future__ import annotations

import argparse
import bz2
import gzip
import re
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.landing import Ingested, ingest, picture, put
from vizrec_spark.app.runner import guarded
from vizrec_spark.errors import InputError, StorageError
from vizrec_spark.tables.schemas import INTERACTIONS, ITEMS, QUARANTINE, USERS

ITEM_LINES = [f"i{n},Item {n},i{n}.jpg" for n in range(4)]
EVENT_LINES = [f"u{n % 3},i{n % 4},view,{1_700_000_000 + n}" for n in range(8)]


def landing(folder: Path, items: list[str], events: list[str], users: list[str]) -> None:
    put(folder / "landing", "items.csv", "\n".join(["item_id,title,image", *items]) + "\n")
    put(folder / "landing", "events.csv", "\n".join(["user_id,item_id,event,timestamp", *events]) + "\n")
    put(folder / "landing", "users.csv", "\n".join(["user_id", *users]) + "\n")


def ingest_listed(spark: SparkSession, folder: Path) -> Ingested:
    """A run with the list of users."""
    return ingest(spark, folder, [f"ingest.users.path={folder}/landing/users.csv"])


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop that was read once, with a list of users that names one who has done nothing."""
    folder = tmp_path_factory.mktemp("guard")
    landing(folder, ITEM_LINES, EVENT_LINES, ["new"])
    for n in range(4):
        put(folder / "landing", f"i{n}.jpg", picture(n))
    ingest_listed(spark, folder)
    return folder


@pytest.mark.parametrize(
    ("items", "events", "users", "complaints"),
    [
        (
            [*(f"i{n},Item,elsewhere/{n}.jpg" for n in range(4)), 'i9,"never closed,i9.jpg', *ITEM_LINES],
            ["u1,i1,view,soon"] * 3 + EVENT_LINES[:2],
            ["new"],
            [
                "catalogue: .*4 more lines lie behind a quote",
                "interactions: 5 in .* mostly bad_timestamp",
                "images: .* mostly missing_file",
            ],
        ),
        # That an empty list stops nothing where none had named anybody is looked at in test_ingest_again.
        (
            [],
            [],
            [],
            [
                f"{what}: no record came in, but its table holds rows"
                for what in ("catalogue", "interactions", "users")
            ],
        ),
    ],
)
def test_tables_are_kept_when_the_input_cannot_be_right(
    spark: SparkSession,
    shop: Path,
    items: list[str],
    events: list[str],
    users: list[str],
    complaints: list[str],
) -> None:
    landing(shop, items, events, users)
    with pytest.raises(InputError) as refused:
        ingest_listed(spark, shop)
    for complaint in complaints:
        assert re.search(complaint, str(refused.value))
    assert "nothing of it was published" in str(refused.value) and "max_refused_share" in str(refused.value)
    tables = shop / "tables"
    for table, rows in ((ITEMS, 4), (INTERACTIONS, 8), (USERS, 4)):
        assert spark.read.format("delta").load(str(tables / table.name)).count() == rows
    refused_rows = spark.read.format("delta").load(str(tables / QUARANTINE.name)).count()
    assert refused_rows > 0


@pytest.fixture(scope="module")
def odd(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    """A run on files of odd forms, with a log of which most is refused; all of it is allowed."""
    folder = tmp_path_factory.mktemp("odd")
    items = 'A,"first\r\nB,line",plain.jpg\r\n\tC\u00a0,"say ""hi""",\r\n007,,\r\n007,Bond,bond.jpg\r\n'
    put(folder / "landing", "items.csv", f"item_id,title,image\r\n{items}")
    events = "\tu ,C,view,1700000000\r\nu,C,view,soon\r\nu,A,view,later\r\n"
    put(folder / "landing", "events.csv", f"user_id,item_id,event,timestamp\r\n{events}")
    pictures = folder / "a[1]{x}*"  # Spark would read this as a pattern
    put(pictures, "plain.jpg", picture())
    put(pictures, "bond.jpg", picture(1))
    put(pictures, "empty.jpg", b"")
    return ingest(spark, folder, [f"ingest.images.path='{pictures}'", "ingest.max_refused_share=1"])


def test_a_share_of_one_publishes_whatever_comes(odd: Ingested) -> None:
    assert odd.accounts["interactions"] == "3 in = 1 accepted + 2 quarantined (bad_timestamp 2)"


def test_quoted_line_breaks_windows_line_ends_and_odd_blanks(odd: Ingested) -> None:
    items = {row.item_id: row.title.replace("\r\n", "\n") for row in odd.tables.read(ITEMS).collect()}
    assert items == {"A": "first\nB,line", "C": 'say "hi"', "007": "Bond"}
    assert [row.path for row in odd.images] == ["bond.jpg", "plain.jpg"]
    refused = [(row.reason, row.record) for row in odd.refused if row.source == "images"]
    assert refused == [("unknown_item", "empty.jpg")]
    assert [(row.user_id, row.item_id) for row in odd.tables.read(INTERACTIONS).collect()] == [("u", "C")]


def test_of_twins_the_record_that_says_most_stays(odd: Ingested) -> None:
    titles = {row.item_id: row.title for row in odd.tables.read(ITEMS).collect()}
    assert titles["007"] == "Bond"
    refused = [(row.reason, row.key) for row in odd.refused if row.source == "catalogue"]
    assert refused == [("duplicate_key", "007")]


@pytest.mark.parametrize(
    ("override", "advice"),
    [
        ("ingest.images.path={root}/landing/items.csv", "is a file; name the folder"),
        ("ingest.catalogue.path=s3a://nowhere/items.csv", "ingest.catalogue.path: cannot read s3a://nowhere"),
        ("ingest.catalogue.path={root}/landing/semicolons.csv", r'options: \{sep: ";"\}'),
        ("ingest.catalogue.path={root}/landing/utf16.csv", "name its encoding"),
        ("ingest.catalogue={{path: {root}/landing/items.csv, format: parquet}}", "is not a Parquet file"),
        ("ingest.interactions.path={root}/landing/none.csv", "PATH_NOT_FOUND"),
        ("ingest.interactions.path={root}/landing/half.csv.gz", "Unexpected end of input stream"),
    ],
)
def test_what_cannot_be_read_is_said_with_advice(
    spark: SparkSession, shop: Path, override: str, advice: str
) -> None:
    landing(shop, ITEM_LINES, EVENT_LINES, [])
    put(shop / "landing", "semicolons.csv", "item_id;title;image\ni1;Item;\n")
    put(shop / "landing", "utf16.csv", "item_id,title,image\ni1,Item,\n".encode("utf-16"))
    log = "".join(f"{line}\n" for line in ["user_id,item_id,event,timestamp", *EVENT_LINES])
    put(shop / "landing", "half.csv.gz", gzip.compress(log.encode())[:-20])
    with pytest.raises(InputError, match=advice):
        ingest(spark, shop, [override.format(root=shop)])


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("order", "CSV header does not conform to the schema"),
        ("crc", "gzip stream CRC failure"),
        ("bz2", "crc error"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_exit_3(
    spark: SparkSession, shop: Path, what: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    landing(shop, ITEM_LINES, EVENT_LINES, [])
    log = "".join(f"{line}\n" for line in ["user_id,item_id,event,timestamp", *EVENT_LINES]).encode()
    crc, packed = bytearray(gzip.compress(log)), bytearray(bz2.compress(log))
    crc[-8] ^= 1
    packed[len(packed) // 2] ^= 0xFF
    put(shop / "landing", "crc/events.csv.gz", bytes(crc))
    put(shop / "landing", "bz2/events.csv.bz2", bytes(packed))
    put(shop / "landing", "order/1.csv", log)
    put(shop / "landing", "order/2.csv", "item_id,user_id,event,timestamp\ni1,u1,view,1700000000\n")
    setting = f"ingest.interactions.path={shop}/landing/{what}"
    code = guarded(lambda _: str(ingest(spark, shop, [setting])), argparse.Namespace())
    told = capsys.readouterr().err
    assert code == InputError.exit_code == 3 and "Traceback" not in told and told.count("Error: ") == 1
    assert f"landing/{what}" in told and why in told and "Mend or replace the file, and run again." in told


@pytest.mark.parametrize("key", ["ingest.catalogue.path", "ingest.images.path"])
def test_a_store_out_of_reach_is_no_fault_of_the_input(
    spark: SparkSession, shop: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What may be over when the run is tried again: the DAGs take an InputError as final."""
    landing(shop, ITEM_LINES, EVENT_LINES, [])
    away = f"{key}=ftp://127.0.0.1:1/landing"
    args = argparse.Namespace()
    assert guarded(lambda _: str(ingest(spark, shop, [away])), args) == StorageError.exit_code
    told = capsys.readouterr().err
    assert "A host cannot be reached: " in told and "Connection refused" in told and "Traceback" not in told
