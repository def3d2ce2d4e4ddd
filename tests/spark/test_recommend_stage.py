"""Stage `recommend` on hand-made tables: who gets what, from where, and why."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from tests.similarity import quality
from vizrec_spark.config import load_config
from vizrec_spark.config.models import Boost, Config, RecommendConfig, RerankConfig, TablesConfig
from vizrec_spark.errors import ConfigError, TableError
from vizrec_spark.recommend import gather
from vizrec_spark.recommend.hybrid import Hybrid, fit_hybrid
from vizrec_spark.recommend.reading import settings_of_model
from vizrec_spark.recommend.rules import with_rules
from vizrec_spark.recommend.sources import PARTS
from vizrec_spark.recommend.stage import STAGE
from vizrec_spark.stage import StageContext, StageResult
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.contract import Table
from vizrec_spark.tables.encoders import encoder_key
from vizrec_spark.tables.schemas import (
    ALS_MODELS,
    BLEND_WEIGHTS,
    ENCODERS,
    INTERACTIONS,
    ITEM_FACTORS,
    ITEM_NEIGHBORS,
    ITEM_RECOMMENDATIONS,
    ITEMS,
    NEAR_DUPLICATES,
    RECOMMENDATIONS,
    SEGMENTS,
    SIMILARITY_QUALITY,
    USER_FACTORS,
    USERS,
)

ENCODER, MODEL = "enc-1", "als-1"
MONDAY = datetime(2024, 1, 1, tzinfo=UTC)


class Event(NamedTuple):
    user: str
    item: str
    event: str = "view"
    weight: float = 1.0
    day: float = 0.0


class Shop:
    """Tables below a folder, written by hand, and the stage run on them."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark = spark
        self.config = Config(tables=TablesConfig(root=str(folder)))
        self.store = TableStore(spark, self.config.tables, Stamp("run-1", "recommend", "0" * 16))

    def write(self, table: Table, rows: list[tuple[Any, ...]]) -> None:
        self.store.overwrite(table, self.spark.createDataFrame(rows, table.schema))

    def items(self, titles: dict[str, str | None]) -> None:
        self.write(ITEMS, [(i, title, [], None, None, {}) for i, title in titles.items()])

    def users(self, *names: str) -> None:
        self.write(USERS, [(name,) for name in names])

    def events(self, *events: Event) -> None:
        rows = [
            (e.user, e.item, e.event, None, e.weight, MONDAY + timedelta(days=e.day, seconds=at))
            for at, e in enumerate(events)
        ]
        self.write(INTERACTIONS, rows)

    def model(
        self,
        users: dict[str, list[float]],
        items: dict[str, list[float]],
        user_model: str = MODEL,
        item_model: str = MODEL,
    ) -> None:
        self.write(USER_FACTORS, [(user_model, u, f) for u, f in users.items()])
        self.write(ITEM_FACTORS, [(item_model, i, f) for i, f in items.items()])

    def looks(self, near: list[tuple[str, str, float]], mean_cosine: float = 0.0) -> None:
        """Look-alikes under the configured encoder."""
        self.write(ENCODERS, [(encoder_key(self.config.embed), ENCODER, 2)])
        ranked: dict[str, int] = {}
        rows = []
        for item, other, cosine in near:
            ranked[item] = ranked.get(item, 0) + 1
            rows.append((ENCODER, item, ranked[item], other, cosine, 1.0))
        self.write(ITEM_NEIGHBORS, rows)
        found = quality(encoder_id=ENCODER, mean_cosine=mean_cosine)
        self.write(SIMILARITY_QUALITY, [tuple(found[c] for c in SIMILARITY_QUALITY.columns)])

    def run(self, **recommend: Any) -> StageResult:
        config = self.config.model_copy(update={"recommend": RecommendConfig(**recommend)})
        return STAGE.run(StageContext(self.spark, config, self.store, "run-1"))

    def table(self) -> pd.DataFrame:
        frame = self.store.read(RECOMMENDATIONS).toPandas()
        return frame.sort_values(["user_id", "rank"], ignore_index=True)

    def lists(self) -> dict[str, list[str]]:
        return lists(self.table())


class Ran(NamedTuple):
    """A finished run: the shop, what the stage told, and the table `recommendations`."""

    shop: Shop
    result: StageResult
    table: pd.DataFrame


def lists(table: pd.DataFrame) -> dict[str, list[str]]:
    return {str(user): list(rows["item_id"]) for user, rows in table.groupby("user_id")}


def row(table: pd.DataFrame, user: str, item: str) -> Any:
    (found,) = table[(table["user_id"] == user) & (table["item_id"] == item)].itertuples()
    return found


@pytest.fixture(scope="module")
def written(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tastes, mugs and lamps; ann and bob like mugs, cid likes lamps, nobody knows dot.

    `mug-new` has no interactions and looks like `mug-1`; `lamp-2` has no picture; `plain` has neither
    factors nor picture.
    """
    folder = tmp_path_factory.mktemp("written")
    made = Shop(spark, folder)
    made.items(
        {
            "mug-1": "Red mug",
            "mug-2": "Blue mug",
            "mug-new": "Green mug",
            "lamp-1": "Lamp",
            "lamp-2": None,
            "plain": "Plain",
        }
    )
    made.users("ann", "bob", "cid", "dot")
    made.events(
        Event("ann", "mug-1", "buy", 5.0),
        Event("bob", "mug-1"),
        Event("bob", "mug-2", "cart", 3.0),
        Event("cid", "lamp-1"),
        Event("cid", "lamp-1"),
        Event("cid", "plain", day=-400),
        Event("eve", "mug-1"),
    )
    made.model(
        {"ann": [1.0, 0.0], "bob": [1.0, 0.1], "cid": [0.0, 1.0]},
        {"mug-1": [1.0, 0.0], "mug-2": [0.9, 0.0], "lamp-1": [0.0, 1.0], "lamp-2": [0.0, 0.8]},
    )
    made.looks(
        [
            ("mug-1", "mug-new", 0.9),
            ("mug-1", "mug-2", 0.6),
            ("mug-new", "mug-1", 0.9),
            ("mug-2", "mug-1", 0.6),
        ],
        mean_cosine=0.5,
    )
    return folder


@pytest.fixture(scope="module")
def recommended(spark: SparkSession, written: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One finished run on them, for the tests that only look."""
    folder = tmp_path_factory.mktemp("recommended") / "tables"
    made = Shop(spark, Path(shutil.copytree(written, folder)))
    return Ran(made, made.run(), made.table())


@pytest.fixture
def shop(spark: SparkSession, recommended: Ran, tmp_path: Path) -> Shop:
    """A copy of that run's tables: a Delta table is a folder, and copying it is quicker than writing it again."""
    return Shop(spark, Path(shutil.copytree(recommended.shop.config.tables.root, tmp_path / "tables")))


def test_every_user_gets_rows_and_nobody_else(recommended: Ran) -> None:
    result = recommended.result
    found = lists(recommended.table)
    assert found.keys() == {"ann", "bob", "cid", "dot"}
    assert {user: len(items) for user, items in found.items()} == {"ann": 5, "bob": 4, "cid": 4, "dot": 6}
    assert next(w.rows for w in result.written) == 19


def test_rows_name_the_model_and_the_encoder(recommended: Ran) -> None:
    result = recommended.result
    assert set(recommended.table["model_id"]) == {MODEL}
    assert set(recommended.table["encoder_id"]) == {ENCODER}
    assert result.notes[0].startswith("6 items ranked; recommendations by source: ")
    [note] = result.notes[1:]
    assert note.startswith("too few users with a validation window") and note.endswith("as configured")


def test_seen_items_are_left_out(recommended: Ran) -> None:
    pairs = set(zip(recommended.table["user_id"], recommended.table["item_id"], strict=True))
    seen = {(r.user_id, r.item_id) for r in recommended.shop.store.read(INTERACTIONS).collect()}
    assert not pairs & seen


def test_the_list_of_one_user_by_hand(recommended: Ran) -> None:
    """ann bought mug-1. bob did too, and took mug-2; mug-new looks four times as much like mug-1 as mug-2 does."""
    mug, new = row(recommended.table, "ann", "mug-2"), row(recommended.table, "ann", "mug-new")
    assert lists(recommended.table)["ann"][:2] == ["mug-2", "mug-new"]
    assert mug.score_cf > 0 and mug.score_cooccurrence > 0 and mug.score_popularity > 0
    assert new.score_visual == pytest.approx(4 * mug.score_visual, rel=1e-5)
    assert (new.score_cf, new.score_cooccurrence, new.score_popularity) == (0.0, 0.0, 0.0)
    assert dict(mug.because) == dict.fromkeys(("cf", "cooccurrence", "visual"), "mug-1")
    assert dict(new.because) == {"visual": "mug-1"}
    assert set(new.proposed_by) == {"visual", "popularity"}
    parts = (
        mug.score_cf,
        mug.score_cooccurrence,
        mug.score_visual,
        mug.score_attributes,
        mug.score_popularity,
    )
    assert mug.score == pytest.approx(sum(parts) + mug.score_boost, abs=1e-9)


def test_a_cold_item_is_offered_for_its_looks_and_the_reason_names_the_cause(recommended: Ran) -> None:
    for user, verb in (("ann", "bought"), ("bob", "viewed")):
        offer = row(recommended.table, user, "mug-new")
        assert (offer.source, offer.because_item_id) == ("visual", "mug-1")
        assert offer.reason == f"Looks like “Red mug”, which you {verb}"


def test_an_item_without_a_picture_is_offered(recommended: Ran) -> None:
    offer = row(recommended.table, "cid", "lamp-2")
    assert (offer.rank, offer.source, offer.because_item_id) == (1, "als", "lamp-1")
    assert offer.reason == "Liked by people who share your taste for “Lamp”, which you viewed"


def test_a_cold_user_gets_what_is_popular(recommended: Ran) -> None:
    assert lists(recommended.table)["dot"] == ["mug-1", "lamp-1", "mug-2", "plain", "lamp-2", "mug-new"]
    rows = recommended.table.query("user_id == 'dot'")
    assert set(rows["source"]) == {"popularity"}
    assert rows["because_item_id"].isna().all()
    assert rows["reason"].tolist() == [
        "Popular: 3 people chose it",
        *["Popular: 1 person chose it"] * 3,
        *["Nobody has chosen it yet"] * 2,
    ]


def test_who_has_done_nothing_gets_what_is_popular_in_their_segment(
    spark: SparkSession, tmp_path: Path
) -> None:
    """North likes n-items, south, of whom there are more, s-items; of the lonely group nothing is known."""
    shop = Shop(spark, tmp_path)
    camps = {"n": [f"n{i}" for i in range(10)], "s": [f"s{i}" for i in range(15)]}
    shop.items({f"{camp}-{at}": None for camp in camps for at in range(4)})
    new = {"new-n": "north", "new-s": "south", "new-l": "lonely"}
    shop.users(*new, "new")
    shop.events(
        *(
            Event(user, f"{camp}-{(at + n) % 4}")
            for camp, users in camps.items()
            for n, user in enumerate(users)
            for at in range(3)
        )
    )
    shop.model({"n0": [1.0]}, {"n-0": [1.0]})
    groups = {user: {"n": "north", "s": "south"}[camp] for camp, users in camps.items() for user in users}
    shop.write(SEGMENTS, list({**groups, **new}.items()))
    shop.run(k=8)
    found = shop.lists()
    assert {item[0] for item in found["new-n"][:4]} == {"n"}
    assert {item[0] for item in found["new-s"][:4]} == {item[0] for item in found["new"][:4]} == {"s"}
    assert found["new-l"] == found["new"]
    assert {len(items) for items in found.values()} == {8}
    assert set(shop.table()["source"]) == {"popularity"}


@pytest.fixture(scope="module")
def odd(spark: SparkSession, written: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A finished run for shoppers of whom each has something odd about them; item `gone` has left the catalogue."""
    made = Shop(spark, Path(shutil.copytree(written, tmp_path_factory.mktemp("odd") / "tables")))
    made.users("ann", "bob", "dot", "fay", "gus", "hal")
    day = [MONDAY + timedelta(days=d) for d in range(3)]
    made.write(
        INTERACTIONS,
        [
            ("ann", "mug-1", "buy", None, 5.0, day[0]),
            ("bob", "mug-1", "buy", None, 5.0, day[0]),
            ("bob", "mug-1", "rating", 1.0, 0.0, day[1]),
            ("bob", "lamp-1", "view", None, 1.0, day[2]),
            ("fay", "plain", "view", None, 1.0, day[0]),
            ("gus", "lamp-2", "view", None, 1.0, day[0]),
            ("hal", "gone", "view", None, 1.0, day[0]),
        ],
    )
    made.model(
        {"ann": [1.0, 0.0], "bob": [0.0, 1.0], "gus": [0.0, 1.0], "hal": [1.0, 0.0]},
        {"mug-1": [1.0, 0.0], "gone": [2.0, 0.0], "lamp-1": [0.0, 1.0], "lamp-2": [0.0, 0.8]},
    )
    made.looks([("mug-1", "mug-new", 0.9), ("mug-1", "gone", 0.95), ("gone", "mug-2", 0.9)])
    return Ran(made, made.run(), made.table())


def test_a_user_of_whose_items_none_has_factors_gets_rows(odd: Ran) -> None:
    rows = odd.table.query("user_id == 'fay'")
    assert len(rows) == 5 and set(rows["source"]) == {"popularity"}


def test_a_user_whose_items_all_left_gets_rows_and_no_cause(odd: Ran) -> None:
    """Their factors still say what they like; no item that can be named does."""
    offer = row(odd.table, "hal", "mug-1")
    assert (offer.rank, offer.source, offer.because_item_id) == (1, "als", None)
    assert offer.reason == "Liked by people whose taste is like yours"


def test_an_item_that_left_the_catalogue_neither_appears_nor_causes_anything(odd: Ran) -> None:
    assert set(odd.table["user_id"]) == {"ann", "bob", "dot", "fay", "gus", "hal"}
    assert "gone" not in {*odd.table["item_id"], *odd.table["because_item_id"].dropna()}


def test_a_missing_title_reads_as_the_id(odd: Ran) -> None:
    assert row(odd.table, "gus", "lamp-1").reason == (
        "Liked by people who share your taste for “lamp-2”, which you viewed"
    )


def test_what_a_user_rated_low_is_left_out_and_causes_nothing(odd: Ran) -> None:
    """bob bought mug-1 and rated it badly: no look-alike of it on its account, and one person fewer likes it."""
    bobs = odd.table.query("user_id == 'bob'")
    assert "mug-1" not in {*bobs["item_id"], *bobs["because_item_id"]}
    assert "visual" not in set(bobs["source"])
    assert row(odd.table, "dot", "mug-1").reason == "Popular: 1 person chose it"
    assert row(odd.table, "ann", "mug-new").because_item_id == "mug-1"


@pytest.mark.parametrize("missing", ["encoder", "similar"])
def test_without_looks_it_recommends_and_says_so(shop: Shop, missing: str) -> None:
    if missing == "encoder":
        shop.write(ENCODERS, [("{}", ENCODER, 2)])  # that of another set-up
    else:
        shop.write(ITEM_NEIGHBORS, [])
        shop.write(SIMILARITY_QUALITY, [])
    result = shop.run()
    assert shop.lists().keys() == {"ann", "bob", "cid", "dot"}
    assert "visual" not in set(shop.table()["source"])
    assert (shop.table()["score_visual"] == 0).all()
    assert "recommended without looks (run embed and similar)" in result.notes[-1]
    assert set(shop.table()["encoder_id"]) == {ENCODER if missing == "similar" else None}


def test_factor_tables_of_two_models_are_refused(shop: Shop, recommended: Ran) -> None:
    shop.model({"ann": [1.0, 0.0]}, {"mug-1": [1.0, 0.0]}, user_model="als-2")
    with pytest.raises(TableError, match="user_factors holds model als-2 and item_factors model als-1"):
        shop.run()
    pd.testing.assert_frame_equal(shop.table(), recommended.table, check_exact=True)


def test_neither_another_order_nor_a_run_of_als_and_ingest_in_between_changes_anything(
    shop: Shop, recommended: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was checked is what is used: users' factors, histories and people, of one version each."""
    shop.store.overwrite(INTERACTIONS, shop.store.read(INTERACTIONS).orderBy("timestamp", ascending=False))
    shop.store.overwrite(USERS, shop.store.read(USERS).orderBy("user_id", ascending=False))

    def meanwhile(*given: Any) -> Hybrid:
        shop.model({"ann": [0.0, 1.0], "cid": [1.0, 0.0]}, {"mug-1": [1.0, 0.0]}, "als-2", "als-2")
        shop.events(Event("ann", "lamp-1"), Event("cid", "mug-1"))
        shop.users("dot")
        return fit_hybrid(*given)

    monkeypatch.setattr("vizrec_spark.recommend.stage.fit_hybrid", meanwhile)
    shop.run()
    pd.testing.assert_frame_equal(shop.table(), recommended.table, check_exact=True)
    assert shop.store.commits(RECOMMENDATIONS, 1)[0]["stage"] == "recommend"


def test_without_a_model_it_names_the_stage_to_run(shop: Shop) -> None:
    for table in (USER_FACTORS, ITEM_FACTORS):
        shutil.rmtree(shop.store.location(table))
    with pytest.raises(TableError, match="run stage `als` first"):
        shop.run()


def test_a_shop_where_nobody_did_anything_and_no_stage_has_looked_serves_every_user(shop: Shop) -> None:
    for table in (ENCODERS, ITEM_NEIGHBORS, SIMILARITY_QUALITY):
        shutil.rmtree(shop.store.location(table))
    for table in (INTERACTIONS, USER_FACTORS, ITEM_FACTORS):
        shop.write(table, [])
    result = shop.run()
    assert "recommended without collaborative filtering" in result.notes[-2]
    assert "recommended without looks (run embed and similar)" in result.notes[-1]
    table = shop.table()
    assert table.groupby("user_id").size().to_dict() == dict.fromkeys(("ann", "bob", "cid", "dot"), 6)
    assert set(table["source"]) == {"popularity"}
    assert set(table["model_id"]) == set(table["encoder_id"]) == {None} and (table["score_visual"] == 0).all()


@pytest.mark.parametrize("bound", ["LOG_USERS", "LOG_PAIRS"])
def test_rules_near_duplicates_boosts_and_what_was_bought(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(gather, bound, 1)  # reasons count all people, however few are learned from
    shop.write(NEAR_DUPLICATES, [(ENCODER, item, "mug-2", 2) for item in ("mug-2", "mug-new")])
    result = shop.run(
        rerank=RerankConfig(
            rules=("title IS NOT NULL", "item_id <> 'plain'"),
            boosts=(Boost(where="item_id = 'lamp-1'", add=9.0),),
            already="leave_out_bought",
        )
    )
    table = shop.table()
    assert not {"lamp-2", "plain"} & set(table["item_id"])
    assert set(table[table["rank"] == 1]["item_id"]) == {"lamp-1"}
    assert set(table[table["item_id"] == "lamp-1"]["score_boost"]) == {9.0}
    assert "mug-1" not in lists(table)["ann"]  # bought
    assert "mug-1" in lists(table)["bob"]  # only viewed
    assert all(len({"mug-2", "mug-new"} & set(items)) == 1 for items in lists(table).values())
    assert result.written[0].rows == len(table)
    assert row(table, "dot", "mug-1").reason == "Popular: 3 people chose it"


@pytest.mark.parametrize("configured", ["implicit", "explicit"])
def test_a_model_is_used_as_what_it_was_trained_on(
    spark: SparkSession, tmp_path: Path, configured: str
) -> None:
    shop = Shop(spark, tmp_path)
    trained = {kind: {"rank": 3.0, "regularization": 0.5} for kind in ("implicit", "explicit")}
    trained["implicit"]["alpha"] = 7.0
    shop.write(
        ALS_MODELS, [(kind, 1, 9, 3, 2, 2, "plain", [], None, None, own) for kind, own in trained.items()]
    )
    config = load_config(None, [f"tables.root={tmp_path}", f"als.preference={configured}"])
    context = StageContext(spark, config, shop.store, "run-1")
    found = {kind: settings_of_model(context, kind) for kind in (*trained, "unheard-of")}
    assert [als.preference for als in found.values()] == ["implicit", "explicit", configured]
    assert (found["implicit"].rank, found["implicit"].alpha, found["explicit"].regularization) == (
        3,
        7.0,
        0.5,
    )


@pytest.mark.parametrize("rule", ["no_such_column > 1", "price +", "price", "max(price) > 3"])
def test_a_rule_that_is_no_condition_is_refused_by_name(spark: SparkSession, rule: str) -> None:
    with pytest.raises(ConfigError, match=r"recommend\.rerank\.rules"):
        with_rules(spark.createDataFrame([], ITEMS.schema), RerankConfig(rules=(rule,)))


def test_items_to_show_beside_an_item(recommended: Ran) -> None:
    frame = recommended.shop.store.read(ITEM_RECOMMENDATIONS).toPandas()
    beside = {
        (item, kind): list(rows.sort_values("rank")["other_item_id"])
        for (item, kind), rows in frame.groupby(["item_id", "kind"])
    }
    # Chosen together and alike: an alternative. Chosen together without looks: a complement.
    assert set(beside["mug-1", "alternative"]) == {"mug-new", "mug-2"}
    assert beside["lamp-1", "complement"] == ["plain"]
    # Nothing looks like the lamp: what others chose with it stands in for that.
    assert beside["lamp-1", "alternative"] == ["plain"]
    assert ("mug-new", "complement") not in beside


def test_with_enough_users_the_blend_is_learned_and_told(spark: SparkSession, tmp_path: Path) -> None:
    """Two camps that choose within their half of the catalogue: what others choose decides, and is found to.

    Ids of every kind pass through.
    """
    random = np.random.default_rng(11)
    users = [" ", "null", "Ω", *(f"u{n:02d}" for n in range(57))]
    items = [f"é|商品🧦{n:02d}" for n in range(40)]
    shop = Shop(spark, tmp_path)
    shop.items({i: i for i in items})
    shop.users(*users)
    shop.events(
        *(
            Event(u, items[int(i) + 20 * (n % 2)], day=float(day))
            for n, u in enumerate(users)
            for day, i in enumerate(random.choice(20, size=8, replace=False))
        )
    )
    factors = {name: [float(n % 2 == 0), float(n % 2)] for n, name in enumerate(users)}
    shop.model(factors, {i: [float(n < 20), float(n >= 20)] for n, i in enumerate(items)})
    result = shop.run(k=5, block_users=7)
    weights = shop.store.read(BLEND_WEIGHTS).toPandas().set_index("feature")
    [method] = set(weights["method"])
    if method == "single":
        assert result.notes[1].endswith(" alone is used (new items are weighed against others as learned)")
        assert weights["weight_lo"].isna().equals(~weights.index.to_series().isin(["new", "new_als"]))
    else:
        assert method == "learned" and weights["weight_lo"].notna().all()
    taste = weights.loc[["als", "ridge_recent", "ridge_whole", "cosine_recent"], "weight"]
    assert taste.sum() > 0.5 * weights["weight"].clip(lower=0).sum()
    bounded = weights.dropna(subset=["weight_lo"])
    assert (bounded["weight_lo"] <= bounded["weight"] + 1e-9).all()
    assert (bounded["weight"] <= bounded["weight_hi"] + 1e-9).all()
    assert "on the validation window the blend has NDCG@10" in result.notes[1]
    alone = weights["blend_difference"].dropna()
    assert {"als", "ridge_recent", "ridge_whole", "cosine_recent", "popularity", "trend"} == set(alone.index)
    table = shop.table()
    own = [
        (users.index(u) % 2 == 0) == (items.index(i) < 20)
        for u, i in zip(table["user_id"], table["item_id"], strict=True)
    ]
    assert np.mean(own) > 0.95
    parts = table[[f"score_{part}" for part in (*PARTS, "boost")]]
    np.testing.assert_allclose(parts.sum(axis=1), table["score"], atol=1e-6)
    named = table["because_item_id"].dropna()
    assert len(named) > 0.9 * len(table) and set(named) <= set(items) and set(table["user_id"]) == set(users)
    shop.run(k=5, block_users=60)
    pd.testing.assert_frame_equal(shop.table(), table)
