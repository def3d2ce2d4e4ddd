"""What the page shows, chosen from small tables that one can check by hand; and the stage on them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tests.reporting import measured, worst
from tests.similarity import quality
from vizrec_spark.app.look import find
from vizrec_spark.config import Config
from vizrec_spark.config.models import IngestConfig
from vizrec_spark.errors import InputError, TableError
from vizrec_spark.report import select
from vizrec_spark.report.collect import build_gallery, choose_shoppers, choose_showcases, known_items
from vizrec_spark.report.facts import gather_facts
from vizrec_spark.report.look import look_at_item, look_at_user
from vizrec_spark.report.model import Facts
from vizrec_spark.report.notebook import plot_metrics, show_neighbors, show_recommendations
from vizrec_spark.report.pictures import _first_places, _made, keep_pictures, small_pictures
from vizrec_spark.report.pinned import PinnedTables
from vizrec_spark.report.sections.findings import stage_findings
from vizrec_spark.report.sections.runs import Ran, by_step, last_runs
from vizrec_spark.report.stage import STAGE
from vizrec_spark.stage import StageContext
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.contract import Table
from vizrec_spark.tables.encoders import encoder_key
from vizrec_spark.tables.schemas import (
    COMPARED_ITEMS,
    ENCODERS,
    IMAGES,
    INTERACTIONS,
    ITEM_NEIGHBORS,
    ITEMS,
    METRICS,
    NEAR_DUPLICATES,
    QUARANTINE,
    RECOMMENDATIONS,
    RESTORES,
    RUNS,
    SIMILARITY_QUALITY,
    THUMBNAILS,
    USERS,
    WORST_LISTS,
)
from vizrec_spark.tables.standing import standing

Rows = Callable[[Table, Sequence[dict[str, Any]]], DataFrame]
START = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> Rows:
    def make(table: Table, given: Sequence[dict[str, Any]]) -> DataFrame:
        return spark.createDataFrame([tuple(g.get(c) for c in table.columns) for g in given], table.schema)

    return make


def did(
    user: str, item: str, day: int, event: str = "view", weight: float = 1.0, **more: Any
) -> dict[str, Any]:
    return {
        "user_id": user,
        "item_id": item,
        "event": event,
        "weight": weight,
        "timestamp": START + timedelta(days=day),
        **more,
    }


def offer(user: str, rank: int, item: str, source: str, because: str | None = None) -> dict[str, Any]:
    parts = {f"score_{s}": 0.5 / rank if s == source else 0.1 / rank for s in ("cf", "visual", "popularity")}
    if source == "als":
        parts["score_cf"] = 0.5 / rank
    return {
        "user_id": user,
        "rank": rank,
        "item_id": item,
        "source": source,
        "because_item_id": because,
        "reason": f"reason {rank}",
        "model_id": "model-1",
        "score": sum(parts.values()),
        **parts,
        "score_cooccurrence": 0.0,
        "score_attributes": 0.0,
        "score_boost": 0.0,
        "proposed_by": [source],
        "because": {},
    }


def near(item: str, rank: int, neighbor: str, encoder: str = "enc") -> dict[str, Any]:
    cosine = 1.0 - rank / 10
    return {
        "encoder_id": encoder,
        "item_id": item,
        "rank": rank,
        "neighbor_id": neighbor,
        "cosine": cosine,
        "distance": float(rank),
    }


def item(item_id: str, *categories: str, title: str | None = None, **attributes: str) -> dict[str, Any]:
    return {"item_id": item_id, "title": title, "categories": list(categories), "attributes": attributes}


def picture(item_id: str, path: str, content: bytes) -> dict[str, Any]:
    return {
        "item_id": item_id,
        "path": path,
        "sha256": hashlib.sha256(content).hexdigest(),
        "width": 40,
        "height": 30,
        "format": "PNG",
        "bytes": len(content),
        "modified": START,
        "content": content,
    }


def png(red: int) -> bytes:
    out = BytesIO()
    Image.new("RGB", (40, 30), (red, 0, 0)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def shop(rows: Rows) -> dict[str, DataFrame]:
    """Five users of five kinds; item `cold` has no interaction, `gone` is no longer in the catalogue."""
    log = [did("heavy", f"i{n}", n) for n in range(12)]
    log += [did("looker", "i1", 1), did("looker", "i2", 2), did("looker", "i3", 3), did("looker", "i4", 4)]
    log += [did("taster", f"i{n}", n) for n in range(5)]
    log += [did("starter", "i1", 3, "view"), did("starter", "i1", 1, "buy", 5.0), did("starter", "i2", 2)]
    offers = [offer("heavy", 1, "i13", "als", "i2"), offer("heavy", 2, "gone", "popularity")]
    offers += [offer("looker", r, f"i{r + 5}", "visual", "i4") for r in range(1, 4)]
    offers += [offer("taster", r, f"i{r + 5}", "als", "i1") for r in range(1, 4)]
    offers += [offer("starter", 1, "cold", "visual", "i1"), offer("nobody", 1, "i1", "popularity")]
    return {
        "items": rows(
            ITEMS, [*(item(f"i{n}", "odd" if n % 2 else "even") for n in range(14)), item("cold", "new")]
        ),
        "images": rows(
            IMAGES,
            [
                picture("i1", "b.png", png(1)),
                picture("i1", "a.png", png(2)),
                picture("i2", "c.png", png(2)),
                picture("i3", "d.png", b"no picture"),
            ],
        ),
        "users": rows(USERS, [{"user_id": u} for u in ("heavy", "looker", "taster", "starter", "nobody")]),
        "interactions": rows(INTERACTIONS, log),
        "neighbors": rows(
            ITEM_NEIGHBORS,
            [near(f"i{n}", r, f"i{(n + r) % 10}") for n in range(10) for r in (1, 2, 3)]
            + [near("cold", 1, "i1")],
        ),
        "recommendations": rows(RECOMMENDATIONS, offers),
    }


def test_profiles_count_what_shoppers_did_and_got(shop: dict[str, DataFrame]) -> None:
    profiles = select.shopper_profiles(shop["users"], shop["interactions"], shop["recommendations"], top=2)
    found = {
        p.user_id: (p.n_items, p.n_events, p.n_als, p.n_visual, p.n_popularity, p.n_new)
        for p in profiles.collect()
    }
    assert found == {
        "heavy": (12, 12, 1, 0, 1, 2),
        "looker": (4, 4, 0, 2, 0, 0),
        "taster": (5, 5, 2, 0, 0, 0),
        "starter": (2, 3, 0, 1, 0, 1),
        "nobody": (0, 0, 0, 0, 1, 0),
    }


def test_shoppers_of_different_kinds_are_chosen(shop: dict[str, DataFrame]) -> None:
    profiles = select.shopper_profiles(shop["users"], shop["interactions"], shop["recommendations"])
    chosen = select.spread(select.shopper_candidates(profiles, 5).collect(), 5)
    again = select.spread(select.shopper_candidates(profiles.repartition(7), 5).collect(), 5)
    kinds = [(row.kind, row.user_id) for row in chosen]
    assert kinds[:2] == [("long", "heavy"), ("cold", "nobody")]
    assert sorted(user for _, user in kinds) == ["heavy", "looker", "nobody", "starter", "taster"]
    assert [(row.kind, row.user_id) for row in again] == kinds
    assert [row.user_id for row in select.spread(select.shopper_candidates(profiles, 2).collect(), 2)] == [
        "heavy",
        "nobody",
    ]


def test_kinds_take_the_user_with_most_of_it(shop: dict[str, DataFrame]) -> None:
    profiles = select.shopper_profiles(shop["users"], shop["interactions"], shop["recommendations"])
    first = {r.kind: r.user_id for r in select.shopper_candidates(profiles, 1).collect()}
    assert first.pop("random") != "nobody"
    assert first == {
        "long": "heavy",
        "cold": "nobody",
        "visual": "looker",
        "als": "taster",
        "new": "heavy",
        "short": "starter",
        "popularity": "heavy",
    }


def test_a_history_is_the_latest_items_with_their_weightiest_event(rows: Rows) -> None:
    log = [
        did("u", "a", 1, "buy", 5.0),
        did("u", "a", 9, "view"),
        did("u", "b", 5, "rating", rating=2.0),
        did("u", "b", 6, "rating", rating=4.5),
        did("u", "c", 7),
        did("u", "d", 2),
        did("other", "e", 8),
    ]
    got = select.histories(rows(INTERACTIONS, log), ["u"], top=3).orderBy("place").collect()
    assert [(r.item_id, r.event, r.rating, r.seconds) for r in got] == [
        ("a", "buy", None, (START + timedelta(days=9)).timestamp()),
        ("c", "view", None, (START + timedelta(days=7)).timestamp()),
        ("b", "rating", 4.5, (START + timedelta(days=6)).timestamp()),
    ]


def test_showcase_takes_a_new_category_before_a_second_of_one(shop: dict[str, DataFrame]) -> None:
    items, neighbors = shop["items"], shop["neighbors"]
    categories = {r.item_id: r.categories[0] for r in items.collect()}
    shown = [r.item_id for r in select.showcase_items(neighbors, items, 5).orderBy("order").collect()]
    assert sorted(categories[i] for i in shown[:3]) == ["even", "new", "odd"]
    assert len(set(shown)) == 5
    other = select.showcase_items(neighbors.repartition(5), items.repartition(3), 5)
    assert [r.item_id for r in other.orderBy("order").collect()] == shown
    lists = select.look_alikes(neighbors, other, top=2).collect()
    assert sorted({r.order for r in lists}) == [1, 2, 3, 4, 5]
    assert max(r["rank"] for r in lists) == 2


CONFIG = Config()
ENCODER = {"config_key": encoder_key(CONFIG.embed), "encoder_id": "enc", "dimension": 4}
QUALITY = quality(
    method="lsh",
    n_items=11,
    k=3,
    recall=0.9,
    recall_lo=0.8,
    recall_hi=0.95,
    n_queries=10,
    candidates_per_item=5.0,
    max_bucket_share=0.5,
)
WORST = [
    worst("ndcg@10", 1, [], user_id="looker", run_id="week-2", offered=["i1"], missed=["left-since"]),
    worst("ndcg@10", 1, [], user_id="of another", run_id="week-2", model="als", offered=[], missed=[]),
    worst("ndcg@10", 1, [], user_id="of another run", run_id="week-1", offered=[], missed=[]),
    worst("ndcg@10", 5, [], user_id="not so bad", run_id="week-2", offered=[], missed=[]),
]
REFUSED = {
    "whole.png": "unknown_item",
    "cut.png": "truncated",
    "gone.png": "missing_file",
    "../outside.png": "not_an_image",
    "long" * 99: "missing_file",
    "\0odd\n.png": "unsupported_format",
    "back\\slash[1].png": "decompression_bomb",
    "whole.png/below.png": "too_large",
}


def refused(record: str, reason: str) -> dict[str, Any]:
    return {"stage": "ingest", "source": "images", "reason": reason, "message": "m", "record": record}


def looks(item_id: str, n: int) -> dict[str, Any]:
    return {
        "encoder_id": "enc",
        "item_id": item_id,
        "content": "0" * 64,
        "looks": [float(n), float(n % 2), 0.0],
    }


def pair(item_id: str, group: str) -> dict[str, Any]:
    return {"encoder_id": "enc", "item_id": item_id, "group_id": group, "group_size": 2}


def run(run_id: str, stage: str, day: float, items: int = 0) -> dict[str, Any]:
    wrote = [("items", 1, items, items, 100)] if stage == "ingest" else []
    known = {"config_hash": "0", "outcome": "done", "encoder": "e", "notes": [], "tables": wrote}
    ended = START + timedelta(days=day)
    return {"run_id": run_id, "stage": stage, "finished_at": ended, "seconds": 1.0, "metrics": {}, **known}


def left(
    spark: SparkSession, *records: tuple[str, str, float], held: Sequence[int] = ()
) -> tuple[dict[str, Ran], dict[str, Ran]]:
    """The last runs and those before them of records (run, stage, day); `held`: places of those that the gate held."""
    made = [run(*record) | {"outcome": "held" if i in held else "done"} for i, record in enumerate(records)]
    given = [tuple(one[c] for c in RUNS.columns) for one in made]
    rows = last_runs(spark.createDataFrame(given, RUNS.schema), 2, 3).collect()
    return by_step(rows, 1), by_step(rows, 2)


def test_a_run_that_was_taken_back_is_not_the_last_one(spark: SparkSession) -> None:
    records = [
        ("one", "similar", 1.0),
        ("two", "similar", 2.0),
        ("three", "similar", 3.0),
        ("two", "als", 2.0),
    ]
    given = [tuple(run(*record)[c] for c in RUNS.columns) for record in records]

    def restore(name: str, event: str, day: float, *units: tuple[str, str]) -> tuple[object, ...]:
        made = {"run_id": name, "event": event, "at": START + timedelta(days=day), "asked": units[0][0]}
        return tuple(
            (made | {"takes_back": list(units), "read_since": [], "tables": []})[c] for c in RESTORES.columns
        )

    def left_of(*rows: tuple[object, ...]) -> set[tuple[str, str]]:
        frames = spark.createDataFrame(given, RUNS.schema), spark.createDataFrame(list(rows), RESTORES.schema)
        return {(row.run_id, row.stage) for row in standing(*frames).collect()}

    every = {record[:2] for record in records}
    taken = restore("undo", "done", 2.5, ("two", "similar"), ("three", "similar"))
    assert left_of() == left_of(restore("undo", "planned", 2.5, ("two", "similar"))) == every
    # What ended after the restore stands, though it is named.
    assert left_of(taken) == every - {("two", "similar")}
    assert left_of(taken, restore("redo", "done", 4.0, ("undo", "restore"))) == every


def test_the_records_of_three_schedules_make_a_healthy_run(spark: SparkSession) -> None:
    """By the day ingest, similar and recommend, by its pictures embed, by the week a promotion; training elsewhere."""
    daily = [
        (f"daily.{day}", stage, day + hour / 24)
        for day in (1, 2)
        for stage, hour in (("ingest", 1), ("similar", 3), ("recommend", 4), ("report", 5))
    ]
    embed = [(f"embed.{day}", "embed", day + 2 / 24) for day in (1, 2)]
    weekly = [("weekly", "holdout", 0.1), ("weekly", "evaluate", 0.2), ("weekly", "promote", 0.3)]
    latest, before = left(spark, *daily, *embed, *weekly, ("m", "maintain", 2.9), ("back", "restore", 2.9))
    assert set(latest) == {"ingest", "embed", "similar", "als", "recommend", "evaluate", "promote"}
    assert (latest["als"].stage, before["recommend"].run_id) == ("promote", "daily.1")
    now = START + timedelta(days=2, hours=6)
    (found,) = stage_findings(latest, now, timedelta(days=1))
    assert (found.level, found.title) == ("good", "Stages")
    # A newer training by hand is what counts; a promotion that was held has trained nothing.
    latest, before = left(spark, *weekly, ("hand", "als", 1), ("next", "promote", 8), held=[4])
    assert (latest["als"].run_id, latest["als"].stage) == ("hand", "als")
    assert before["als"].run_id == "weekly" and latest["promote"].outcome == "held"


def test_more_evaluations_are_kept_than_runs_of_other_steps(spark: SparkSession) -> None:
    """With several protocols a day the last few do not reach back for a week."""
    made = [run(f"r{n}", stage, n) for n in range(5) for stage in ("evaluate", "als")]
    given = [tuple(one[c] for c in RUNS.columns) for one in made]
    rows = last_runs(spark.createDataFrame(given, RUNS.schema), 2, 3).collect()
    kept = {step: {row.run_id for row in rows if row.step == step} for step in ("evaluate", "als")}
    assert kept == {"evaluate": {"r2", "r3", "r4"}, "als": {"r3", "r4"}}


def test_a_stage_that_was_cleared_is_not_held_against_its_own_first_try(spark: SparkSession) -> None:
    latest, before = left(
        spark, ("monday", "ingest", 1), ("tuesday", "ingest", 2), ("tuesday", "ingest", 2.1)
    )
    assert (latest["ingest"].run_id, latest["ingest"].ended) == ("tuesday", START + timedelta(days=2.1))
    assert before["ingest"].run_id == "monday"


def context_at(spark: SparkSession, folder: Path) -> StageContext:
    """The stage's context with the tables below `folder`, and its page below it too."""
    report = {"path": str(folder / "deep" / "report.html"), "items": 4, "shoppers": 5, "thumbnail": 32}
    ingest = {"images": {"path": str(folder / "landing")}}
    tables = {"root": str(folder / "tables")}
    config = Config.model_validate({"report": report, "tables": tables, "ingest": ingest})
    return StageContext(
        spark, config, TableStore(spark, config.tables, Stamp("run-1", "report", "0")), "run-1"
    )


@pytest.fixture(scope="module")
def written(
    spark: SparkSession, shop: dict[str, DataFrame], rows: Rows, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """All that the stage reads, with look-alikes of an encoder that is no longer configured among the rest."""
    folder = tmp_path_factory.mktemp("written")
    stale = rows(ITEM_NEIGHBORS, [near("i9", 1, "i8", encoder="stale")])
    frames = [
        (ITEMS, shop["items"]),
        (USERS, shop["users"]),
        (INTERACTIONS, shop["interactions"]),
        (IMAGES, shop["images"]),
        (RECOMMENDATIONS, shop["recommendations"]),
        (ITEM_NEIGHBORS, shop["neighbors"].union(stale)),
        (ENCODERS, rows(ENCODERS, [ENCODER])),
        (SIMILARITY_QUALITY, rows(SIMILARITY_QUALITY, [QUALITY])),
        (QUARANTINE, rows(QUARANTINE, [refused(*pair) for pair in REFUSED.items()])),
        (COMPARED_ITEMS, rows(COMPARED_ITEMS, [looks(f"i{n}", n) for n in range(1, 5)])),
        (NEAR_DUPLICATES, rows(NEAR_DUPLICATES, [pair("i1", "i1"), pair("i2", "i1")])),
        (METRICS, rows(METRICS, [measured("week-2", "hybrid", 0.3).asDict()])),
        (WORST_LISTS, rows(WORST_LISTS, [one.asDict() for one in WORST])),
        (
            RUNS,
            rows(
                RUNS,
                [run("week-1", "ingest", 1, 9), run("week-2", "ingest", 8, 15), run("week-2", "evaluate", 8)],
            ),
        ),
    ]
    tables = context_at(spark, folder).tables
    for table, frame in frames:
        tables.overwrite(table, frame.coalesce(1))
    return folder / "tables"


@pytest.fixture
def context(spark: SparkSession, written: Path, tmp_path: Path) -> StageContext:
    """A copy of those tables: a Delta table is a folder, and copying it is quicker than writing it again."""
    shutil.copytree(written, tmp_path / "tables")
    landing = tmp_path / "landing"
    landing.mkdir()
    for file, content in (
        (landing / "whole.png", png(7)),
        (landing / "cut.png", png(7)[:40]),
        (landing / "back\\slash[1].png", png(7)),
        (tmp_path / "outside.png", png(7)),
    ):
        file.write_bytes(content)
    return context_at(spark, tmp_path)


def test_small_pictures_are_made_once_and_kept(context: StageContext, rows: Rows) -> None:
    tables = context.tables
    red, none = (hashlib.sha256(content).hexdigest() for content in (png(2), b"no picture"))
    pictures, new = small_pictures(tables, ["i1", "i3", "i9"], 32, 10_000)
    written = keep_pictures(tables, new)
    assert pictures.of == {"i1": red, "i3": none}  # the first by path; i9 has none
    assert list(pictures.thumbnails) == [red]
    assert (pictures.thumbnails[red].width, pictures.thumbnails[red].height) == (32, 24)
    assert (written.rows, written.changed) == (1, 1)
    # What cannot be decoded is not kept: a decoder that can will show it.
    kept = {row.sha256: row.jpeg for row in tables.read(THUMBNAILS).collect()}
    assert {name: bytes(jpeg) for name, jpeg in kept.items()} == {red: pictures.thumbnails[red].jpeg}
    # One is replaced, in another data file; the old one still holds the row.
    of_i3 = tables.read(IMAGES).where("item_id = 'i3'").drop("content", "sha256")
    green = hashlib.sha256(png(9)).hexdigest()
    tables.upsert(IMAGES, of_i3.withColumns({"content": F.lit(png(9)), "sha256": F.lit(green)}))
    replaced, new = small_pictures(tables, ["i1", "i3"], 32, 10_000)
    written = keep_pictures(tables, new)
    assert replaced.of["i3"] == green and sorted(replaced.thumbnails) == sorted([red, green])
    assert (written.rows, written.changed) == (2, 1)
    # The bytes themselves are not needed any more; what no item shows any more is deleted; another size is made anew.
    shutil.rmtree(tables.location(IMAGES))
    tables.overwrite(IMAGES, rows(IMAGES, [{**picture("i1", "a.png", b"gone"), "sha256": red}]))
    again, new = small_pictures(tables, ["i1"], 32, 10_000)
    written = keep_pictures(tables, new)
    assert again.thumbnails == {red: pictures.thumbnails[red]}
    assert (written.rows, written.changed) == (1, 1)
    _, new = small_pictures(tables, ["i1"], 32, 10_000)
    written = keep_pictures(tables, new)
    assert not new and (written.rows, written.changed) == (1, 0)
    assert small_pictures(tables, ["i1"], 33, 10_000)[0].thumbnails == {}


def test_no_other_picture_is_made_small(context: StageContext) -> None:
    """In the plan Python stands above the join with the few that are asked for, and stands there once."""
    places = _first_places(context.tables, ["i1"])
    plan = _made(context.tables, places, 32, 10_000)._jdf.queryExecution().executedPlan().toString()  # type: ignore[attr-defined]
    assert plan.count("BatchEvalPython") == 1
    assert plan.index("BatchEvalPython") < plan.index("Join")


def test_the_gallery_joins_names_pictures_and_causes(
    shop: dict[str, DataFrame], context: StageContext
) -> None:
    chosen = replace(
        choose_shoppers(shop["users"], shop["interactions"], shop["recommendations"], n=5),
        near=choose_showcases(shop["neighbors"], shop["items"], n=4).near,
    )
    pictures, _ = small_pictures(context.tables, sorted(chosen.item_ids), 32, 10_000)
    known = known_items(shop["items"], chosen.item_ids, pictures)
    gallery = build_gallery(Facts("run-1", 15, 5, 4, 24), chosen, known, pictures)
    people = {s.user_id: s for s in gallery.shoppers}
    heavy = people["heavy"]
    assert [s.item.item_id for s in heavy.history] == [f"i{n}" for n in range(11, 3, -1)]
    assert (heavy.n_items, heavy.n_events) == (12, 12)
    assert [(o.item.item_id, o.is_new) for o in heavy.offers] == [("i13", True), ("gone", True)]
    assert heavy.offers[0].because is not None
    assert heavy.offers[0].because.picture == hashlib.sha256(png(2)).hexdigest()
    assert heavy.offers[1].item.name == "gone"
    assert people["nobody"].history == ()
    # i1 and i2 share a picture; the bytes of i3 are none.
    assert list(gallery.thumbnails) == [hashlib.sha256(png(2)).hexdigest()]
    assert known["i3"].broken and known["i3"].picture is None and not known["i4"].broken
    assert people["taster"].history[0].when == START + timedelta(days=4)
    assert len(gallery.showcases) == 4
    assert [n.cosine for n in gallery.showcases[-1].look_alikes] == pytest.approx([0.9, 0.8, 0.7])


def test_the_stage_writes_the_page_and_knows_when_nothing_changed(context: StageContext, rows: Rows) -> None:
    first = STAGE.run(context).written[0]
    path = Path(first.location)
    page = path.read_text(encoding="utf-8")
    assert (first.table, first.rows, first.changed) == ("gallery (HTML)", 1, 1)
    assert 'Data up to <strong><time datetime="2025-01-12">12 Jan 2025' in page
    assert all(text in page for text in ("run-1", "model-1", "0.9000", "truncated", "reason 1"))
    # Only the refused picture below the landing folder that can be decoded is shown.
    for told in ('whole.png" style', "cut.png, broken", "gone.png, missing", "../outside.png, missing"):
        assert f"icture {told}" in page or f'"{told}"' in page
    for told in (
        "Stage embed has never come to its end",
        "rows of items",
        "+66.7%",
        "0.300 in the last evaluation, which is the only one",
        "Nothing has come to its end in the last 24 hours",
        "Run <code>week-2</code> of 9 Jan 2025",
        'aria-label="nDCG@10: taken by looker, not among the first 10"',
        'title="left-since · left-since"',
    ):
        assert told in page
    assert "of another" not in page and "not so bad" not in page
    assert page.count('<li style="grid-area:') == 2  # i3 is broken, i4 has no picture
    again = STAGE.run(replace(context, run_id="run-2")).written[0]
    assert again.changed == 0
    assert "run-2" in path.read_text(encoding="utf-8")
    context.tables.upsert(ITEMS, rows(ITEMS, [item("i1", "odd", title="Renamed")]))
    assert STAGE.run(context).written[0].changed == 1


def test_the_page_stands_without_pictures_models_and_offers(context: StageContext) -> None:
    gone = (IMAGES, RECOMMENDATIONS, ITEM_NEIGHBORS, ENCODERS, SIMILARITY_QUALITY, QUARANTINE, RUNS, METRICS)
    for table in gone:
        shutil.rmtree(context.tables.location(table))
    context.tables.delete(INTERACTIONS, F.lit(True))
    done = STAGE.run(context)
    page = Path(done.written[0].location).read_text(encoding="utf-8")
    assert done.written[0].rows == 0
    assert all(
        text in page
        for text in (
            "No interactions yet.",
            "not measured",
            "has made no list for this user",
            "No map",
            "No weights yet",
        )
    )


def test_a_look_at_one_item_and_one_user(context: StageContext) -> None:
    tables, config = context.tables, context.config
    found = look_at_item(tables, config, "i1", 2)
    assert [n.item.item_id for n in found.showcases[0].look_alikes] == ["i2", "i3"]
    assert found.showcases[0].item.picture is not None
    someone = look_at_user(tables, config, "looker", 2)
    assert [o.item.item_id for o in someone.shoppers[0].offers] == ["i6", "i7"]
    assert not tables.exists(THUMBNAILS)  # a look writes nothing
    for unknown, look in (("item 'x'", look_at_item), ("user 'x'", look_at_user)):
        with pytest.raises(InputError, match=f"no {unknown}"):
            look(tables, config, "x", 2)
    with pytest.raises(TableError, match="has no look-alikes"):
        look_at_item(tables, config, "i13", 2)


def test_a_look_says_which_it_has_taken_and_takes_what_is_asked_for(
    context: StageContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, config = context.tables, context.config
    assert find(tables, config, "i1", None, 2)[0] == "Looks like item i1"
    (tmp_path / "i1").write_bytes(b"no picture")
    monkeypatch.chdir(tmp_path)
    assert find(tables, config, "i1", "item", 2)[0] == "Looks like item i1"
    with pytest.raises(InputError, match="no user 'i1'"):
        find(tables, config, "i1", "user", 2)
    small = config.model_copy(update={"ingest": IngestConfig.model_validate({"images": {"max_bytes": 9}})})
    with pytest.raises(InputError, match=r"10 bytes, more than ingest\.images\.max_bytes"):
        find(tables, small, "i1", None, 2)
    with pytest.raises(InputError, match="is no file, and tables"):
        find(tables, config, "n" * 300, None, 2)


def test_a_page_reads_each_table_in_one_version(context: StageContext, rows: Rows) -> None:
    tables = PinnedTables(context.spark, context.config.tables, context.tables.stamp)
    before = tables.read(RUNS).count()
    context.tables.delete(RUNS, F.col("stage") == "ingest")
    assert context.tables.read(RUNS).count() < before
    assert [tables.read(RUNS).count(), tables.pinned_or_empty(RUNS).count()] == [before, before]


def test_facts_tell_users_and_those_who_have_offers(context: StageContext) -> None:
    tables = context.tables
    tables.delete(RECOMMENDATIONS, F.col("user_id") == "starter")
    of_nobody = tables.read(RECOMMENDATIONS).withColumns(
        {"user_id": F.lit("left"), "model_id": F.lit("model-2")}
    )
    tables.append(RECOMMENDATIONS, of_nobody.limit(1).withColumn("rank", F.lit(1)))
    users, offered = (
        {row.user_id for row in tables.read(table).collect()} for table in (USERS, RECOMMENDATIONS)
    )
    facts = gather_facts(context, "enc")
    assert (facts.n_users, facts.n_served) == (len(users), len(users & offered))
    assert 0 < facts.n_served < facts.n_users and facts.model_id == "model-1"
    tables.overwrite(
        RECOMMENDATIONS, tables.read(RECOMMENDATIONS).withColumn("model_id", F.lit(None).cast("string"))
    )
    unmodelled = gather_facts(context, "enc")
    assert (unmodelled.n_served, unmodelled.model_id) == (facts.n_served, None)
    shutil.rmtree(tables.location(RECOMMENDATIONS))
    none = gather_facts(context, "enc")
    assert (none.n_users, none.n_served, none.n_interactions) == (len(users), 0, facts.n_interactions)


def test_a_notebook_draws_pages_in_frames(context: StageContext) -> None:
    tables, config = context.tables, context.config
    drawn = [
        show_neighbors(tables, config, "i1"),
        show_recommendations(tables, config, "looker"),
        plot_metrics(tables, config),
    ]
    assert [repr(one) for one in drawn[:2]] == ["Looks like i1: 3 items", "Offered to looker: 3 items"]
    assert repr(drawn[2]).startswith("Cannot be told yet: Model `hybrid` has nDCG@10 0.300")
    for one, told in zip(drawn, ("Looks like i1", "reason 1", "nDCG@10"), strict=True):
        frame = one._repr_html_()
        assert frame.startswith("<iframe") and told in frame
        assert frame.count("<") == 2  # the page itself is an attribute's text
    shutil.rmtree(tables.location(METRICS))
    with pytest.raises(TableError, match="vizrec evaluate"):
        plot_metrics(tables, config)
