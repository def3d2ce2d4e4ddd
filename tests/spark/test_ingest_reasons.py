"""Every reason code of the quarantine, from planted files through the whole stage; and the counts add up."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from pyspark.sql import SparkSession

from tests.landing import Ingested, ingest, picture, put
from vizrec_spark.config.models import IngestConfig
from vizrec_spark.ingest.stage import write_segments
from vizrec_spark.tables.reasons import REASONS
from vizrec_spark.tables.schemas import INTERACTIONS, ITEMS, SEGMENTS, USERS

MAX_BYTES, MAX_PIXELS = 20_000, 2_000

# Records by the reason for which they are refused; None: accepted.
CATALOGUE: dict[str | None, list[str]] = {
    None: [
        "good,Bag,bags|red,4.90,1700000000,good.jpg",
        "free,Gift,,0,2024-05-31,",
        "cheap,Pin,,.5,2024-05-31T12:00:00+02:00,",
        "sick,Sick,,,,gone.jpg|empty.jpg|huge.png|page.jpg|half.jpg|bomb.png|broken.png",
    ],
    "malformed_record": ["short,row", "long,row,,1,,x.jpg,surplus", "open,only,,1,"],
    "bad_encoding": ["e1,Caf\udce9,,1,,"],
    "missing_key": [",Nameless,,1,,", "   ,Blank,,1,,"],
    "duplicate_key": ["good,Bag2,,5,,"],
    "bad_price": [
        "p1,P,,-0.01,,",
        "p2,P,,4d,,",
        "p3,P,,cheap,,",
        "p4,P,,NaN,,",
        "p5,P,,Infinity,,",
        "p6,P,,1e999,,",
        "p7,P,,0x1p3,,",
    ],
    "bad_added_at": [
        "d1,D,,1,yesterday,",
        "d2,D,,1,0,",
        "d3,D,,1,1700000000000,",
        f"d4,D,,1,{'9' * 32},",
        f"d5,D,,1,{'9' * 60},",
        "d6,D,,1,2024-02-30,",
        "d7,D,,1,2101-01-01,",
    ],
}
USER_LIST: dict[str | None, list[str]] = {
    None: ["anna,1", "newcomer,2", "loner,"],
    "malformed_record": ["one", "one,2,three"],
    "bad_encoding": ["Ren\udce9,3"],
    "missing_key": [",4", '"",5'],
    "duplicate_key": ["anna,6", "anna,7"],
}
NOW = "1700000000"
LOG: dict[str | None, list[str]] = {
    None: [
        f"anna,good,view,,{NOW}",
        f"anna,good,view,,{NOW}.5",
        f"anna,good,rating,0.5,{NOW}",
        f"bert,free,buy,5,{NOW}",
    ],
    "malformed_record": ["anna,good", f"anna,good,view,,{NOW},surplus"],
    "bad_encoding": [f"ann\udce4,good,view,,{NOW}"],
    "missing_key": [f",good,view,,{NOW}", f"anna,,view,,{NOW}", f"  ,good,view,,{NOW}"],
    "duplicate_key": [f"anna,good,rating,4.5,{NOW}", f" anna ,good,view,,{NOW}"],
    "bad_timestamp": [
        "anna,good,view,,",
        "anna,good,view,,soon",
        "anna,good,view,,0",
        "anna,good,view,,-1",
        "anna,good,view,,20240531",
        "anna,good,view,,1700000000000",
        f"anna,good,view,,{'9' * 32}",
        "anna,good,view,,NaN",
        "anna,good,view,,1e99",
    ],
    "unknown_event": [f"anna,good,teleport,,{NOW}", f"anna,good,,,{NOW}", f"anna,good,VIEW,,{NOW}"],
    "bad_rating": [
        f"anna,good,rating,NaN,{NOW}",
        f"anna,good,rating,inf,{NOW}",
        f"anna,good,rating,-Infinity,{NOW}",
        f"anna,good,rating,five,{NOW}",
        f"anna,good,rating,5f,{NOW}",
        f"anna,good,rating,,{NOW}",
    ],
    "rating_out_of_range": [f"anna,good,rating,0.49,{NOW}", f"anna,good,rating,5.01,{NOW}"],
    "unknown_item": [f"anna,nothing,view,,{NOW}", f"anna,p1,view,,{NOW}"],
}
PNG = picture(3, kind="PNG")
FILES: dict[str | None, dict[str, bytes | None]] = {
    None: {"good.jpg": picture()},
    "missing_file": {"gone.jpg": None},
    "unknown_item": {"stray.jpg": picture(1), "below/stray.PNG": PNG},
    "empty_file": {"empty.jpg": b""},
    "too_large": {"huge.png": picture(2, side=100, kind="PNG")},
    "not_an_image": {"page.jpg": b"<html>404</html>"},
    "truncated": {"half.jpg": picture(4)[:-200]},
    "decompression_bomb": {"bomb.png": picture(5, side=50, kind="PNG")},
    "undecodable": {"broken.png": PNG.replace(PNG[41:61], b"\xff" * 20)},
}
RECORDS = {"catalogue": CATALOGUE, "users": USER_LIST, "interactions": LOG}
HEADS = {
    "catalogue": "item_id,title,categories,price,added_at,image",
    "users": "user_id,since",
    "interactions": "user_id,item_id,event,rating,timestamp",
}
PLANTED = {
    **{(s, r): len(lines) for s, by in RECORDS.items() for r, lines in by.items() if r is not None},
    **{("images", r): len(files) for r, files in FILES.items() if r is not None},
}


@pytest.fixture(scope="module")
def run(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    folder = tmp_path_factory.mktemp("reasons")
    for source, name in (("catalogue", "items.csv"), ("users", "users.csv"), ("interactions", "events.csv")):
        lines = [line for group in RECORDS[source].values() for line in group]
        put(folder / "landing", name, "\n".join([HEADS[source], *lines]) + "\n")
    for files in FILES.values():
        for name, content in files.items():
            if content is not None:
                put(folder / "landing", name, content)
    columns = "{title: title, categories: categories, price: price, added_at: added_at}"
    return ingest(
        spark,
        folder,
        [
            f"ingest.catalogue.columns={columns}",
            "ingest.interactions.columns.rating=rating",
            f"ingest.users.path={folder / 'landing' / 'users.csv'}",
            "ingest.users.segment=since",
            f"ingest.images.max_bytes={MAX_BYTES}",
            f"ingest.images.max_pixels={MAX_PIXELS}",
            "ingest.max_refused_share=1",
        ],
    )


def test_every_explained_reason_is_planted() -> None:
    explained = {(source, r.code) for r in REASONS for source in r.sources}
    others = {
        ("images", "non_finite_vector"),
        ("interactions", "reused_id"),
    }  # test_embed_udf, test_stream_stage
    assert set(PLANTED) == explained - others


@pytest.mark.parametrize(("source", "reason"), PLANTED)
def test_what_is_planted_is_refused_for_its_reason(run: Ingested, source: str, reason: str) -> None:
    rows = [row for row in run.refused if (row.source, row.reason) == (source, reason)]
    assert len(rows) == PLANTED[source, reason]
    assert all(row.stage == "ingest" and len(row.message) > 10 for row in rows)
    records = sorted(row.record for row in rows)
    if source == "images":
        assert records == sorted(FILES[reason])
    elif reason == "malformed_record":
        assert records == sorted(RECORDS[source][reason])


def test_a_refused_record_is_kept_whole(run: Ingested) -> None:
    refused = {row.record for row in run.refused if row.reason == "bad_price"}
    assert (
        '{"item_id":"p1","title":"P","categories":null,"price":"-0.01","added_at":null,"image":null}'
        in refused
    )


def test_messages_say_what_came(run: Ingested) -> None:
    messages = {(row.source, row.reason): row.message for row in run.refused}
    assert "teleport" in " ".join(row.message for row in run.refused if row.reason == "unknown_event")
    assert "(ingest.images.max_bytes)" in messages["images", "too_large"]
    assert "2,500 pixels" in messages["images", "decompression_bomb"]


def test_everything_else_is_accepted(run: Ingested) -> None:
    items = {row.item_id: row for row in run.tables.read(ITEMS).collect()}
    assert sorted(items) == ["cheap", "free", "good", "sick"]
    assert (items["good"].title, items["good"].categories, items["good"].price) == (
        "Bag",
        ["bags", "red"],
        4.9,
    )
    assert (items["free"].price, items["cheap"].price, items["sick"].price) == (0.0, 0.5, None)
    assert items["cheap"].added_at.timestamp() == 1_717_149_600
    assert [(row.item_id, row.path) for row in run.images] == [("good", "good.jpg")]
    users = ["anna", "bert", "loner", "newcomer"]
    assert sorted(row.user_id for row in run.tables.read(USERS).collect()) == users
    assert sorted(map(tuple, run.tables.read(SEGMENTS).collect())) == [("anna", "1"), ("newcomer", "2")]
    log = run.tables.read(INTERACTIONS).orderBy("user_id", "timestamp", "event").collect()
    assert [(r.user_id, r.item_id, r.event, r.rating, r.weight) for r in log] == [
        ("anna", "good", "rating", 0.5, 0.0),
        ("anna", "good", "view", None, 1.0),
        ("anna", "good", "view", None, 1.0),
        ("bert", "free", "buy", 5.0, 5.0),
    ]


def test_counts_add_up_and_are_told(run: Ingested) -> None:
    planted = {
        **{source: {r: len(lines) for r, lines in by.items()} for source, by in RECORDS.items()},
        "images": {r: len(files) for r, files in FILES.items()},
    }
    assert set(run.accounts) == set(planted)
    for source, counts in planted.items():
        n_in, n_accepted, n_refused = map(
            int, re.findall(r"(\d+) (?:in|accepted|quarantined)", run.accounts[source])
        )
        assert (n_in, n_accepted, n_refused) == (
            sum(counts.values()),
            counts[None],
            sum(counts.values()) - counts[None],
        )
        assert " in = " in run.accounts[source]
    told = Counter((row.source, row.reason) for row in run.refused)
    assert told == Counter(PLANTED)


def test_groups_go_with_the_column_that_named_them(run: Ingested) -> None:
    """Last of all: it changes the tables of this run."""
    nothing_named = IngestConfig()
    [emptied] = write_segments(run.tables, nothing_named, None)
    assert (emptied.table, emptied.rows) == ("segments", 0)
    assert write_segments(run.tables, nothing_named, None) == []
