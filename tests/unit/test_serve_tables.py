"""What the service makes of tables: arrays against plain dictionaries, and what it does where tables cannot be read."""

from __future__ import annotations

import re
import shutil
import time
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.serving import ITEMS, NO_PICTURE, ODD, PLAIN, USERS, WHEN, Shop, live_row, write_table
from vizrec_spark.config import load_config
from vizrec_spark.config.models import BlendWeights, TablesConfig
from vizrec_spark.errors import ConfigError, EncoderError, TableError
from vizrec_spark.recommend.items import strength
from vizrec_spark.serve import columns as c
from vizrec_spark.serve import delta
from vizrec_spark.serve import rows as rows_module
from vizrec_spark.serve.catalogue import read_catalogue, read_people
from vizrec_spark.serve.delta import TableFolder
from vizrec_spark.serve.lists import SOURCE_NAMES, Live
from vizrec_spark.serve.looks import Vectors
from vizrec_spark.serve.rows import FADING, Row, known_rows, latest_users, session_rows
from vizrec_spark.serve.snapshot import Loader, NotWhole, Snapshot
from vizrec_spark.serve.texts import SortedTexts, Texts
from vizrec_spark.tables import delta_log
from vizrec_spark.tables import schemas as S
from vizrec_spark.tables.schemas import ALL_TABLES
from vizrec_spark.wording import reason


def no_encoder(encoder_id: str) -> None:
    raise EncoderError("none here")


@pytest.fixture(scope="module")
def loaded(shop: Shop) -> Snapshot:
    return Loader(shop.config, no_encoder).load()


def test_what_is_read_is_in_the_contracts() -> None:
    contracts = {table.name: table for table in ALL_TABLES}
    beside = (c.LIVE_RECOMMENDATIONS, c.ADAPTED_ENCODERS, c.FINE_TUNED_ENCODERS, c.ENCODER_FILES)
    for source in (*c.SOURCES, *beside):
        table = contracts[source.name]
        assert (source.writer, source.contract) == (table.writer, table.version)
        assert set(source.columns) <= set(table.columns)
    # The neighbours and vectors of one encoder are found by folder, without reading those of the others.
    partitioned = (c.EMBEDDINGS, c.ITEM_NEIGHBORS, c.SIMILARITY_QUALITY)
    assert {contracts[source.name].partition_by for source in partitioned} == {("encoder_id",)}


def test_upkeep_is_the_same_to_the_service_and_to_spark() -> None:
    (words,) = re.findall(r"\^\((.*)\)", delta_log.UPKEEP)
    assert sorted(delta._UPKEEP) == sorted(words.split("|"))


def test_a_live_list_counts_while_fresh_and_while_the_batch_run_is_older(loaded: Snapshot) -> None:
    assert loaded.offers is not None
    hour, made = 3600.0, 1.0e9
    user, n = loaded.offers.users[0], len(loaded.offers.users)
    live = Live(3, loaded.offers, np.full(n, made), hour)
    rows = loaded.offers.of(user)
    assert live.of(user, made + 0.9 * hour, made + 0.5 * hour) == rows  # fresh
    assert live.of(user, made + 1.1 * hour, made + 0.5 * hour) is None
    assert live.of(user, made + 20 * hour, made - 1.0) == rows  # newer than the batch run
    assert live.of(user, made + 25 * hour, made - 1.0) is None  # but of yesterday
    assert live.of("nobody", made, made - 1.0) is None
    assert loaded.batch_at == pytest.approx(time.time(), abs=3600.0)


def test_a_broken_table_of_live_lists_keeps_nothing_from_being_loaded(shop: Shop, tmp_path: Path) -> None:
    own = shop.copy(tmp_path)
    write_table(own.root, S.LIVE_RECOMMENDATIONS, [live_row(own, "u1", 1, datetime.now(UTC))])
    loader = Loader(own.config, no_encoder)
    first = loader.load()
    assert first.live is not None and first.live.newest_at == pytest.approx(time.time(), abs=600)
    assert "by_age" in vars(first.live)  # found in the thread that reads, not in the first answer
    assert latest_users(first, 5) == ["u1"]
    (own.root / "live_recommendations" / "_delta_log" / f"{2:020}.json").write_text("no commit\n")
    write_table(own.root, S.RECOMMENDATIONS, [])
    second = loader.load(first)
    assert second.offers is not first.offers and second.live is first.live
    with pytest.raises(TableError, match="live_recommendations"):
        loader.live(second)
    write_table(own.root, S.ITEMS, [])  # the lists name items by their places in the catalogue of before
    assert loader.load(second).live is None
    assert Loader(own.config, no_encoder).load().live is None


def test_the_newest_live_lists_that_count_come_first(loaded: Snapshot) -> None:
    assert loaded.offers is not None
    users, now = loaded.offers.users, time.time()
    made_at = now - np.array([30.0, 1e6, 10.0, 20.0])
    live = Live(1, loaded.offers, made_at, 60.0)
    assert latest_users(replace(loaded, live=live), 100) == [users[2], users[3], users[0]]
    assert latest_users(replace(loaded, live=live), 1) == [users[2]]
    assert latest_users(loaded, 3) == []


@given(st.sets(st.text(max_size=6), max_size=30), st.text(max_size=6))
def test_texts_are_found_by_bisection(texts: set[str], other: str) -> None:
    ordered = sorted(texts, key=lambda text: text.encode())
    found = SortedTexts(pa.array(ordered, pa.string()))
    assert [found[at] for at in range(len(found))] == ordered
    assert [found.position(text) for text in ordered] == list(range(len(ordered)))
    assert found.position(other) == (ordered.index(other) if other in texts else -1)
    asked = pa.array([*ordered, None], pa.string())
    for column in (asked, asked.dictionary_encode()):
        assert found.positions(pa.chunked_array([column, column])).tolist() == 2 * [*range(len(ordered)), -1]


def test_a_null_is_an_empty_text_and_a_slice_is_read_from_its_start() -> None:
    texts = Texts(pa.array(["left out", "ä", None, "b"])[1:])
    assert [texts[at] for at in range(len(texts))] == ["ä", "", "b"]


def test_people_are_counted_as_stage_recommend_counts_them(tmp_path: Path, shop: Shop) -> None:
    """Against plain Python on random events, low ratings and second thoughts included."""
    draw = np.random.default_rng(3)
    rows = []
    for _ in range(600):
        rated = draw.random() < 0.5
        rows.append(
            {
                "user_id": f"u{draw.integers(12)}",
                "item_id": ITEMS[draw.integers(len(ITEMS))],
                "event": "rating" if rated else "view",
                "rating": float(draw.integers(1, 6)) if rated else None,
                "weight": float(draw.integers(0, 2)) if rated else 1.0,
                "timestamp": WHEN.replace(minute=int(draw.integers(60)), second=int(draw.integers(60))),
            }
        )
    for part in (rows[:200], rows[200:]):
        write_table(tmp_path, S.INTERACTIONS, part, mode="append")
    pairs = defaultdict(list)
    for row in rows:
        pairs[row["user_id"], row["item_id"]].append(row)
    people: defaultdict[str, int] = defaultdict(int)
    for (_, item), events in pairs.items():
        ratings = sorted((e for e in events if e["rating"] is not None), key=lambda e: e["timestamp"])
        liked = sum(e["weight"] for e in events) > 0 and not (ratings and ratings[-1]["weight"] == 0)
        people[item] += liked
    catalogue = read_catalogue(TableFolder(shop.config.tables).open(c.ITEMS))
    interactions = TableFolder(TablesConfig(root=str(tmp_path))).open(c.INTERACTIONS)
    counted = read_people(interactions, catalogue)
    assert {catalogue.ids[at]: n for at, n in enumerate(counted)} == {item: people[item] for item in ITEMS}


def test_lists_are_those_of_the_tables(loaded: Snapshot, shop: Shop) -> None:
    offers, ids = loaded.offers, loaded.catalogue.ids
    for user, wanted in shop.offers.items():
        rows = offers.of(user)
        assert [ids[offers.item[at]] for at in rows] == [row["item_id"] for row in wanted]
        assert [offers.reasons[offers.reason[at]] for at in rows] == [row["reason"] for row in wanted]
        assert [SOURCE_NAMES[offers.source[at]] for at in rows] == [row["source"] for row in wanted]
    assert offers.of("nobody") is None
    nothing = loaded.neighbors.of(ids.position(NO_PICTURE))
    assert nothing.start == nothing.stop


def test_strength_is_that_of_stage_recommend(loaded: Snapshot) -> None:
    neighbors, ids = loaded.neighbors, loaded.catalogue.ids
    item = ids.position(PLAIN[4])
    where = neighbors.of(item)
    assert neighbors.mean_cosine == pytest.approx(0.4)
    theirs = strength(neighbors.cosine[where], neighbors.mean_cosine)
    assert neighbors.strength(where).tolist() == pytest.approx(theirs.tolist(), abs=1e-6)


def test_a_session_is_scored_by_the_formula(loaded: Snapshot) -> None:
    """Against plain dictionaries."""
    weights, ids = BlendWeights(visual=0.2, popularity=0.1), loaded.catalogue.ids
    viewed = [ids.position(PLAIN[at]) for at in (2, 11, 7)]
    known = [Row(ids.position(PLAIN[20]), (0.3, 0.1, 0.01, 0.05, 0.0, 0.0), 0, -1, "as before")]
    rows = session_rows(loaded, known, viewed, len(ids), weights)
    looks: defaultdict[int, float] = defaultdict(float)
    for age, seen in enumerate(reversed(viewed)):
        where = loaded.neighbors.of(seen)
        for item, likeness in zip(
            loaded.neighbors.item[where], loaded.neighbors.strength(where), strict=True
        ):
            looks[item] = max(looks[item], likeness * FADING**age)
    largest = max(looks.values())
    assert [row.score for row in rows] == sorted((row.score for row in rows), reverse=True)
    for row in rows:
        own = known[0].parts if row.item == known[0].item else None
        people = np.log1p(loaded.people[row.item]) / np.log1p(loaded.people.max())
        # The best of what is known has 0.46, and looks weigh twice what popularity does.
        visual = max(0.46 * looks[row.item] / largest, own[2] if own else 0.0)
        wanted = (0.3, 0.1, visual, 0.05, 0.0, 0.0) if own else (0.0, 0.0, visual, 0.0, 0.23 * people, 0.0)
        assert row.parts == pytest.approx(wanted)
    assert {row.item for row in rows} == set(range(len(ids))) - set(viewed)
    assert session_rows(loaded, known, [], 1, weights) == known


def one_by_one(
    snapshot: Snapshot, known: list[Row], viewed: list[int], k: int, weights: BlendWeights
) -> list[Row]:
    """`session_rows` as its words say it: a row for each candidate, and all of them sorted."""
    most = int(snapshot.people.max())

    def popular(item: int) -> Row:
        people = int(snapshot.people[item])
        share = unit * weights.popularity * (np.log1p(people) / np.log1p(most) if most else 0.0)
        sentence = reason("popularity", people, None)
        return Row(
            item, (0.0, 0.0, 0.0, 0.0, float(share), 0.0), SOURCE_NAMES.index("popularity"), -1, sentence
        )

    looks: dict[int, tuple[float, int]] = {}
    for age, seen in enumerate(reversed(viewed)):
        where = snapshot.neighbors.of(seen)
        strengths = snapshot.neighbors.strength(where) * FADING**age
        for item, likeness in zip(snapshot.neighbors.item[where].tolist(), strengths.tolist(), strict=True):
            if likeness > looks.get(item, (0.0, -1))[0]:
                looks[item] = (likeness, seen)
    best = max((row.score for row in known), default=1.0)
    unit = (best if best > 0 else 1.0) / max(weights.visual, weights.popularity, 1e-12)
    rows = {item: popular(item) for item in snapshot.by_popularity[: k + len(viewed)].tolist()}
    behind = list(rows)
    rows |= {row.item: row for row in known}
    for item, (likeness, seen) in looks.items():
        row = rows.get(item) or popular(item)
        visual = unit * weights.visual * likeness / max(strength for strength, _ in looks.values())
        if visual > row.parts[2]:
            parts = (*row.parts[:2], visual, *row.parts[3:])
            rows[item] = row._replace(parts=parts)
            if max(parts) <= visual:
                sentence = reason("visual", 0, (snapshot.catalogue.title(seen), "view"))
                rows[item] = Row(item, parts, SOURCE_NAMES.index("visual"), seen, sentence)
    if not looks:
        listed = [row.item for row in known]
        order = [*listed, *(item for item in behind if item not in listed)]
        return [rows[item] for item in order if item not in viewed][:k]
    left = [row for item, row in rows.items() if item not in viewed]
    return sorted(left, key=lambda row: (-row.score, row.item))[:k]


WEIGHTS = st.sampled_from([0.0, 0.1, 0.2, 1.0])


@given(
    st.lists(st.sampled_from([*PLAIN, ODD, NO_PICTURE]), unique=True, max_size=12),
    st.sampled_from(["nobody", *USERS]),
    st.integers(1, 40),
    WEIGHTS,
    WEIGHTS,
)
def test_a_session_is_the_same_with_arrays_and_one_by_one(
    loaded: Snapshot, seen: list[str], user: str, k: int, visual: float, popularity: float
) -> None:
    viewed = [loaded.catalogue.ids.position(item) for item in seen]
    weights = BlendWeights(visual=visual, popularity=popularity)
    known = known_rows(loaded, user, 100, weights)
    assert session_rows(loaded, known, viewed, k, weights) == one_by_one(loaded, known, viewed, k, weights)


class OneAtATime(float):
    """A base that is raised to plain numbers alone: of an array NumPy's power may differ in the last bit."""

    def __pow__(self, age: object) -> float:  # type: ignore[override]
        assert type(age) is int
        return float(self) ** age


def test_what_a_look_counts_is_the_same_on_every_processor(
    loaded: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "FADING", OneAtATime(FADING))
    viewed = [loaded.catalogue.ids.position(item) for item in PLAIN[:12]]
    rows = session_rows(loaded, [], viewed, 40, BlendWeights())
    assert rows == one_by_one(loaded, [], viewed, 40, BlendWeights())


def test_a_session_has_a_sentence_for_each_row_that_is_shown_alone(
    loaded: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def counting(*args: object) -> str:
        made.append(args)
        return reason(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(rows_module, "reason", counting)
    viewed = [loaded.catalogue.ids.position(item) for item in PLAIN[:12]]
    assert len(session_rows(loaded, [], viewed, 3, BlendWeights())) == len(made) == 3


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_the_nearest_are_those_of_a_full_sort(seed: int, k: int) -> None:
    draw = np.random.default_rng(seed)
    unit = np.round(draw.normal(size=(9, 3)), 1).astype(np.float32)  # rounded, so that ties come
    vector = np.round(draw.normal(size=3), 1).astype(np.float32)
    found = Vectors("e", np.arange(9, dtype=np.int32) * 2, unit).nearest(vector, k)
    length = np.linalg.norm(vector) or 1.0
    cosine = unit @ (vector / np.float32(length))
    best = sorted(range(9), key=lambda at: (-cosine[at], at))[:k]
    assert found.item.tolist() == [2 * at for at in best]


def test_parts_whose_tables_stay_are_not_read_again(shop: Shop, tmp_path: Path) -> None:
    own = shop.copy(tmp_path)
    loader = Loader(own.config, no_encoder)
    first = loader.load()
    write_table(own.root, S.RECOMMENDATIONS, [])
    second = loader.load(first)
    assert second.catalogue is first.catalogue and second.neighbors is first.neighbors
    assert len(first.offers.users) == len(own.offers) and len(second.offers.users) == 0
    bare = {"title": None, "categories": [], "price": None, "added_at": None, "attributes": []}
    rows = [{"item_id": item, **bare} for item in ITEMS if item != PLAIN[0]]
    write_table(own.root, S.ITEMS, rows)
    third = loader.load(second)
    assert third.catalogue.ids.position(PLAIN[0]) == -1
    # Whoever had the item that is gone for a look-alike has one less, and never another item in its place.
    named = {third.catalogue.ids[at] for at in third.neighbors.item}
    assert PLAIN[0] not in named and len(named) > 20


def test_an_encoder_that_could_not_be_had_is_asked_for_again(shop: Shop, tmp_path: Path) -> None:
    own, asked = shop.copy(tmp_path), []

    def at_last(encoder_id: str) -> SimpleNamespace:
        asked.append(encoder_id)
        if len(asked) == 1:
            raise EncoderError("not mounted yet")
        return SimpleNamespace(dimension=8)

    loader = Loader(own.config, at_last)  # type: ignore[arg-type]
    first = loader.load()
    assert (first.search.finder, first.search.why) == (None, "not mounted yet")
    for version in range(2):  # once it is there, it stays
        write_table(own.root, S.RECOMMENDATIONS, [])
        later = loader.load(first)
        assert later.search.finder is not None and later.search.why is None and len(asked) == 2, version


def test_a_state_between_two_stages_is_not_loaded_over_a_whole_one(shop: Shop, tmp_path: Path) -> None:
    own = shop.copy(tmp_path)
    whole = Loader(own.config, no_encoder).load()
    rows = [{**row, "encoder_id": "older"} for rows in own.offers.values() for row in rows]
    write_table(own.root, S.RECOMMENDATIONS, rows)
    with pytest.raises(NotWhole, match="run stage `recommend`"):
        Loader(own.config, no_encoder).load(whole)
    alone = Loader(own.config, no_encoder).load()  # nothing better is there
    assert "older" in alone.notes[0]
    shutil.rmtree(own.root / "recommendations")
    with pytest.raises(NotWhole, match="is gone"):
        Loader(own.config, no_encoder).load(whole)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["tables.catalog=spark_catalog.shop"], "tables.catalog=null"),
        (["tables.root=hdfs://name/tables"], "not hdfs://"),
        (["tables.root=work/100%25"], "with % in its name"),
    ],
)
def test_tables_that_only_spark_finds_are_refused(overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Loader(load_config(None, overrides), no_encoder)


def test_tables_that_are_missing_or_of_another_release_are_refused(shop: Shop, tmp_path: Path) -> None:
    config = shop.config.model_copy(update={"tables": TablesConfig(root=str(tmp_path))})
    with pytest.raises(TableError, match="run stage `ingest` first"):
        Loader(config, no_encoder).load()
    newer = SimpleNamespace(**{**vars(S.ITEMS), "version": 99})
    write_table(tmp_path, newer, [])
    with pytest.raises(TableError, match="follows version 99"):
        Loader(config, no_encoder).load()


def test_the_service_starts_on_an_empty_catalogue_alone(shop: Shop, tmp_path: Path) -> None:
    write_table(tmp_path, S.ITEMS, [])
    config = shop.config.model_copy(update={"tables": TablesConfig(root=str(tmp_path))})
    snapshot = Loader(config, no_encoder).load()
    assert len(snapshot.catalogue) == 0 and len(snapshot.notes) == 2
    assert session_rows(snapshot, [], [], 5, BlendWeights()) == []
    assert "run stage `embed`" in snapshot.search.why
