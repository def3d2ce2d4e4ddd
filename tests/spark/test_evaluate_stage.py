"""Stage `evaluate` on a small shop: figures against plain Python, leaks, the gate, and runs that are repeated."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from vizrec_spark.config.load import setting
from vizrec_spark.config.models import Config, EvaluateConfig, GateConfig, TablesConfig
from vizrec_spark.errors import (
    ConfigError,
    EvaluationError,
    LeakFound,
    TableError,
    TooFewUsers,
)
from vizrec_spark.evaluate import holdout
from vizrec_spark.evaluate.protocol import split_by
from vizrec_spark.evaluate.stage import STAGE, ask_gate
from vizrec_spark.stage import StageContext
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.encoders import encoder_key
from vizrec_spark.tables.schemas import (
    EMBEDDINGS,
    ENCODERS,
    IMAGES,
    INTERACTIONS,
    ITEMS,
    METRICS,
    RUNS,
    WORST_LISTS,
)

START = datetime(2024, 1, 1, tzinfo=UTC)
ITEM_IDS = [f"i{n:02d}" for n in range(25)]
Pair = tuple[str, str]


class Shop:
    """Tables below a folder, a training window set apart, and models made up of lists."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder = spark, folder
        self.store = TableStore(spark, TablesConfig(root=str(folder / "tables")), Stamp("r", "t", "0" * 16))
        rng = np.random.default_rng(1)
        self.log: list[tuple[str, str, datetime]] = []
        for u in range(40):
            # Skewed to the first items; some items are met by nobody early on.
            items = rng.choice(20 if u % 3 else 25, size=rng.integers(5, 14), replace=False, p=None)
            self.log += [
                (f"u{u:02d}", ITEM_IDS[i], START + timedelta(hours=n)) for n, i in enumerate(np.sort(items))
            ]
        rows = [(u, i, "view", None, 1.0, t) for u, i, t in self.log]
        self.store.overwrite(INTERACTIONS, spark.createDataFrame(rows, INTERACTIONS.schema))
        catalogue = [
            (i, None, ["a"] if n % 2 else ["b", "c"], None, None, {}) for n, i in enumerate(ITEM_IDS)
        ]
        self.store.overwrite(ITEMS, spark.createDataFrame(catalogue, ITEMS.schema))
        self.parts = self._parts()
        self.lists = {
            name: self._lists(seed, skill) for name, seed, skill in (("good", 2, 0.6), ("poor", 3, 0.1))
        }
        for name, lists in self.lists.items():
            made = [(u, r, i, 1.0) for u, items in lists.items() for r, i in enumerate(items, 1)]
            frame = spark.createDataFrame(made, "user_id string, rank int, item_id string, score double")
            frame.write.format("delta").save(str(folder / name))
        self.looks = self._pictures()
        self.run(holdout.STAGE)

    def _pictures(self) -> dict[str, np.ndarray]:
        """Looks of all items but one, two pictures each; what comes back are unit vectors about the mean."""
        rng = np.random.default_rng(5)
        rows, looks = [], {}
        for item in ITEM_IDS[1:]:
            looks[item] = rng.normal(size=(2, 4)).astype(np.float32) + 2
            for n, vector in enumerate(looks[item]):
                sha = hashlib.sha256(f"{item} {n}".encode()).hexdigest()
                rows.append((item, f"{item}-{n}.png", sha, vector.tolist()))
        pictures = [(i, path, sha, 1, 1, "PNG", 1, START, bytearray(b"x")) for i, path, sha, _ in rows]
        vectors = [(sha, "e1", vector) for *_, sha, vector in rows]
        encoder = [(encoder_key(Config().embed), "e1", 4)]
        for table, content in ((IMAGES, pictures), (EMBEDDINGS, vectors), (ENCODERS, encoder)):
            self.store.overwrite(table, self.spark.createDataFrame(content, table.schema).coalesce(1))
        mean = {item: own.mean(axis=0) for item, own in looks.items()}
        centre = np.mean(list(mean.values()), axis=0)
        return {item: (own - centre) / np.linalg.norm(own - centre) for item, own in mean.items()}

    def _parts(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """What each user knew, and what is to be found (user_time with the default shares)."""
        known, relevant = {}, {}
        own = defaultdict(list)
        for u, i, _ in self.log:
            own[u].append(i)
        for u, items in own.items():
            cut = len(items) - math.ceil(round(0.2 * len(items), 9))
            known[u], relevant[u] = items[:cut], items[cut:]
        return known, relevant

    def _lists(self, seed: int, skill: float) -> dict[str, list[str]]:
        rng, (known, relevant) = np.random.default_rng(seed), self.parts
        lists = {}
        for u in list(known)[1:]:  # the first user gets nothing
            others = [i for i in ITEM_IDS if i not in known[u]]
            wish = [(i in relevant[u] and rng.random() < skill, rng.random(), i) for i in others]
            lists[u] = [i for *_, i in sorted(wish, reverse=True)][: rng.integers(1, 12)]
        return lists

    def settings(self) -> dict[str, Any]:
        return {
            "training": str(self.folder / "training"),
            "models": {name: str(self.folder / name) for name in ("poor", "good")},
            "cutoffs": (2, 5),
            "replicates": 200,
            "min_users": 10,
        }

    def run(self, stage: Any = STAGE, run_id: str = "day-1", **evaluate: Any) -> Any:
        config = Config(evaluate=EvaluateConfig(**{**self.settings(), **evaluate}))
        return stage.run(StageContext(self.spark, config, self.store, run_id))

    def metrics(self, run_id: str = "day-1") -> dict[tuple[str, str, str], Row]:
        rows = self.store.read(METRICS).where(f"run_id = '{run_id}'").collect()
        return {(r.slice, r.model, r.metric): r for r in rows}


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    made = Shop(spark, tmp_path_factory.mktemp("evaluate"))
    made.run()
    return made


@pytest.fixture(scope="module")
def held(shop: Shop, repository: Path) -> int:
    """The exit code of job `evaluate`, run "gate", whose candidate is worse than the current model."""
    shop.metrics()  # what day-1 says is there before
    spec = importlib.util.spec_from_file_location("job_evaluate", repository / "jobs" / "evaluate.py")
    assert spec is not None and spec.loader is not None
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    gate = {"candidate": "poor", "current": "good", "metric": "ndcg@5", "output": f"{shop.folder}/gate.json"}
    settings = {**shop.settings(), "gate": gate, "seed": 1, "looks_items": 3}
    pairs = [f"tables.root={shop.folder}/tables", *(setting(f"evaluate.{k}", v) for k, v in settings.items())]
    return int(job.main([*(x for pair in pairs for x in ("--set", pair)), "--run-id", "gate", "--quiet"]))


def ndcg(items: list[str], relevant: set[str], k: int) -> float:
    gain = sum(1 / math.log2(r + 2) for r, i in enumerate(items[:k]) if i in relevant)
    return gain / sum(1 / math.log2(r + 2) for r in range(min(k, len(relevant))))


def test_the_training_window_is_set_apart(shop: Shop) -> None:
    training = TableStore(shop.spark, TablesConfig(root=str(shop.folder / "training")), shop.store.stamp)
    catalogue = shop.store.read(ITEMS)
    shop.store.overwrite(ITEMS, catalogue.withColumn("price", F.lit(1.0)))
    again = shop.run(holdout.STAGE)  # over what stands there
    versions = {w.table: w.version for w in again.written}
    assert versions["encoders"] == 0, "not left alone"
    assert not versions.keys() & {"images", "embeddings"}, "large, and nobody reads them there"
    assert training.read(ITEMS).where("price = 1.0").count() == len(ITEM_IDS), (
        "a changed table is brought along"
    )
    known = {(u, i) for u, items in shop.parts[0].items() for i in items}
    assert {(r.user_id, r.item_id) for r in training.read(INTERACTIONS).collect()} == known
    assert training.read(ITEMS).count() == len(ITEM_IDS)


def test_means_over_all_users_and_over_slices_against_plain_python(shop: Shop) -> None:
    known, relevant = shop.parts
    found = shop.metrics()
    people = {i: len({u for u, own in known.items() if i in own}) for i in ITEM_IDS}
    order = sorted(ITEM_IDS, key=lambda i: (-people[i], i))
    klass, before = {}, 0
    for i in order:
        klass[i] = (
            "cold"
            if people[i] == 0
            else ("head", "middle", "tail")[min(3 * before // sum(people.values()), 2)]
        )
        before += people[i]
    middle = median(len(own) for own in known.values())
    assert set(klass.values()) == {"head", "middle", "tail", "cold"}, (
        "the shop must have something in every class"
    )
    for name, lists in shop.lists.items():
        wanted: dict[str, list[float]] = defaultdict(list)
        for u, want in relevant.items():
            items = lists.get(u, [])
            wanted["all"].append(ndcg(items, set(want), 5))
            wanted["light_users" if len(known[u]) <= middle else "heavy_users"].append(
                ndcg(items, set(want), 5)
            )
            for part in ("head", "middle", "tail", "cold"):
                if inside := {i for i in want if klass[i] == part}:
                    wanted[f"{part}_items"].append(ndcg(items, inside, 5))
            if warm := {i for i in want if klass[i] != "cold"}:
                wanted["warm_items"].append(ndcg(items, warm, 5))
        assert wanted.keys() == {part for part, model, _ in found if model == name}
        for part, values in wanted.items():
            row = found[part, name, "ndcg@5"]
            assert (row.value, row.n_users) == (pytest.approx(fmean(values)), len(values)), part
            assert row.lo <= row.value <= row.hi


def test_coverage_and_gini_of_all_lists(shop: Shop) -> None:
    shown = [i for items in shop.lists["good"].values() for i in items[:2]]
    row = shop.metrics()["all", "good", "coverage@2"]
    assert row.value == pytest.approx(len(set(shown)) / len(ITEM_IDS)) and row.lo is None
    times = [shown.count(i) for i in ITEM_IDS]
    apart = sum(abs(a - b) for a in times for b in times) / (2 * len(times) * sum(times))
    assert shop.metrics()["all", "good", "gini@2"].value == pytest.approx(apart)


def test_diversity_by_looks_against_plain_python(shop: Shop) -> None:
    apart = []
    for items in shop.lists["good"].values():
        looks = [shop.looks[i] for i in items[:5] if i in shop.looks]
        if len(looks) > 1:
            apart.append(fmean(1 - float(a @ b) for a, b in combinations(looks, 2)))
    row = shop.metrics()["all", "good", "diversity@5"]
    assert (row.value, row.n_users) == (pytest.approx(fmean(apart), abs=1e-5), len(apart))


def test_the_worst_lists_are_those_of_plain_python(shop: Shop) -> None:
    known, relevant = shop.parts
    found = shop.store.read(WORST_LISTS).where("run_id = 'day-1'").collect()
    assert {(r.model, r.metric) for r in found} == {
        (model, f"{metric}@2")  # there is no list length of 10
        for model in ("good", "poor")
        for metric in ("ndcg", "diversity", "miscalibration")
    }
    for model, lists in shop.lists.items():
        mine = sorted((r for r in found if (r.model, r.metric) == (model, "ndcg@2")), key=lambda r: r.place)
        assert [r.place for r in mine] == list(range(1, 11))
        value = {u: ndcg(lists.get(u, []), set(want), 2) for u, want in relevant.items()}
        worst = sorted(relevant, key=lambda u: (value[u], -len(relevant[u])))[:10]
        told = [(r.value, r.n_relevant) for r in mine]
        assert told == [(pytest.approx(value[u]), len(relevant[u])) for u in worst]
        for r in mine:
            offered, want = lists.get(r.user_id, []), set(relevant[r.user_id])
            hits = [place for place, item in enumerate(offered, 1) if item in want]
            assert (r.value, r.n_known) == (pytest.approx(value[r.user_id]), len(known[r.user_id]))
            assert (r.offered, r.first_hit) == (offered[:10], hits[0] if hits else None)
            assert r.missed == sorted(want - set(offered[:2]))[:10]
    # Whom a model offers nothing is among them, and of two metrics one is the worse the higher it is.
    assert any(not r.offered and r.first_hit is None for r in found if r.metric == "ndcg@2")
    for metric, sign in (("diversity@2", 1), ("miscalibration@2", -1)):
        values = [
            r.value for r in sorted(found, key=lambda r: r.place) if (r.model, r.metric) == ("good", metric)
        ]
        mean = shop.metrics()["all", "good", metric].value
        assert values == sorted(values, key=lambda v: sign * v)
        assert sign * (mean - values[0]) > 0


def test_models_are_compared_in_pairs(shop: Shop) -> None:
    found = shop.metrics()
    good, poor = found["all", "good", "ndcg@5"], found["all", "poor", "ndcg@5"]
    assert (good.reference, poor.reference, poor.difference) == ("poor", None, None)
    assert good.difference == pytest.approx(good.value - poor.value)
    assert 0 < good.difference_lo <= good.difference <= good.difference_hi
    assert good.n_both == good.n_users == len(shop.parts[0]) and poor.n_both is None
    assert good.p_value == pytest.approx(1 / 201), "no random sign comes near so clear a difference"
    # In pairs the interval is no wider than two independent ones.
    assert good.difference_hi - good.difference_lo < (good.hi - good.lo) + (poor.hi - poor.lo)


def test_a_repeated_run_gives_the_same_table_and_another_run_its_own_rows(shop: Shop, held: int) -> None:
    assert held == 10
    before = shop.metrics()
    shop.run()
    assert shop.metrics() == before
    other = shop.metrics("gate")
    # More pictures in the first places than it allows: no diversity.
    assert before.keys() - other.keys() == {key for key in before if key[2].startswith("diversity")}
    key = ("all", "good", "ndcg@5")
    assert other[key].value == pytest.approx(before[key].value) and other[key].lo != before[key].lo


def test_the_gate_promotes_and_holds(shop: Shop, held: int) -> None:
    rows = shop.store.read(METRICS).where("run_id = 'day-1'").collect()
    promoted = ask_gate(rows, GateConfig(candidate="good", current="poor", metric="ndcg@5"), 10)
    assert (promoted.verdict, promoted.reason) == ("promote", "better")
    assert promoted.measured.n_both == len(shop.parts[0])
    for not_measured in ({"metric": "ndcg@7"}, {"slice": "new_users"}):
        with pytest.raises(EvaluationError, match="did not measure"):
            ask_gate(rows, GateConfig(candidate="good", minimum=0.1, **not_measured), 10)
    assert held == 10, "the exit code of the job"
    told = json.loads((shop.folder / "gate.json").read_text())
    assert (told["reason"], told["measured"]["n_both"]) == ("may_be_worse", len(shop.parts[0]))
    rows_of_run = shop.metrics("gate")
    assert rows_of_run, "what was measured is kept, also of a candidate that is held"
    # The record says what the run has written and measured, though it ended with an error.
    [record] = shop.store.read(RUNS).where("run_id = 'gate'").collect()
    wrote = {one.table: one for one in record.tables}
    assert (record.stage, record.outcome, set(wrote)) == ("evaluate", "held", {"metrics", "worst_lists"})
    assert wrote["metrics"].changed == shop.store.read(METRICS).where("run_id = 'gate'").count()
    assert all(one.rows > 0 and one.bytes > 0 for one in wrote.values())
    first = {f"ndcg@2_{name}": rows_of_run["all", name, "ndcg@2"].value for name in ("good", "poor")}
    assert first.items() <= record.metrics.items() and record.metrics["users"] == len(shop.parts[0])
    poor = rows_of_run["all", "poor", "ndcg@5"]
    assert record.metrics["gate_passed"] == 0 and record.metrics["gate_value"] == poor.value
    assert record.metrics["gate_difference"] == poor.difference < 0
    assert told["sentence"] in record.notes[-1]


def test_a_model_that_saw_the_test_is_caught(shop: Shop, spark: SparkSession, tmp_path: Path) -> None:
    training = TableStore(spark, TablesConfig(root=str(tmp_path)), shop.store.stamp)
    user, items = next(iter(shop.parts[1].items()))
    seen = shop.store.read(INTERACTIONS).where(f"user_id <> '{user}' OR item_id = '{items[-1]}'")
    known = holdout_of(shop).union(seen.where(f"user_id = '{user}'"))
    training.overwrite(INTERACTIONS, known)
    with pytest.raises(LeakFound, match=f"1 interactions .*{user}"):
        shop.run(training=str(tmp_path), run_id="leak")
    assert not shop.metrics("leak")


def holdout_of(shop: Shop) -> DataFrame:
    return shop.spark.read.format("delta").load(str(shop.folder / "training" / "interactions"))


def test_what_cannot_be_judged_is_an_error_that_says_why(shop: Shop) -> None:
    with pytest.raises(TooFewUsers, match="leaves 40 users"):
        shop.run(min_users=41, run_id="none")
    with pytest.raises(TableError, match=r"needs the columns `rank` \(int\); it has"):
        shop.run(models={"log": str(shop.folder / "tables" / "interactions")}, run_id="none")
    with pytest.raises(TableError, match=r"can be read at .*nowhere"):
        shop.run(models={"log": str(shop.folder / "nowhere")}, run_id="none")
    with pytest.raises(ConfigError, match="must be another folder"):
        config = Config(
            tables=TablesConfig(root=str(shop.folder / "tables")),
            evaluate=EvaluateConfig(training=str(shop.folder / "tables")),
        )
        holdout.STAGE.run(StageContext(shop.spark, config, shop.store, "none"))


def test_what_has_left_the_catalogue_is_asked_of_nobody(shop: Shop) -> None:
    """Its position would be that of another user's item."""
    relevant = shop.parts[1]
    gone = next(items[0] for items in relevant.values() if len(items) == 1)
    kept = shop.store.read(ITEMS).collect()
    there = [row for row in kept if row.item_id != gone]
    shop.store.overwrite(ITEMS, shop.spark.createDataFrame(there, ITEMS.schema))
    try:
        shop.run(run_id="gone")
    finally:
        shop.store.overwrite(ITEMS, shop.spark.createDataFrame(kept, ITEMS.schema))
    left = {user: set(items) - {gone} for user, items in relevant.items()}
    recall = [
        len(set(shop.lists["good"].get(user, [])[:5]) & items) / len(items)
        for user, items in left.items()
        if items
    ]
    found = shop.metrics("gone")["all", "good", "recall@5"]
    assert found.value == pytest.approx(np.mean(recall)) and found.n_users == len(recall) < len(relevant)


def test_cold_items_are_ranked_among_themselves(shop: Shop) -> None:
    # All stands behind the depth: what is cold moves up before anything is cut off.
    deep = shop.spark.read.format("delta").load(f"{shop.folder}/good").withColumn("rank", F.col("rank") + 20)
    deep.write.format("delta").save(f"{shop.folder}/deep")
    deep.limit(0).write.format("delta").save(f"{shop.folder}/silent")
    how = {
        "models": {
            name: f"{shop.folder}/{folder}" for name, folder in (("good", "deep"), ("silent", "silent"))
        },
        "protocol": "cold_items",
        "training": str(shop.folder / "cold"),
        "run_id": "cold",
        "cold_share": 0.2,
        "depth": 5,
    }
    shop.run(holdout.STAGE, **how)
    shop.run(**how)
    found = shop.metrics("cold")
    assert {part for part, _, _ in found} >= {"all", "cold_items"} and (
        "warm_items",
        "good",
        "ndcg@5",
    ) not in found
    kept = {
        r.item_id
        for r in TableStore(shop.spark, TablesConfig(root=str(shop.folder / "cold")), shop.store.stamp)
        .read(INTERACTIONS)
        .collect()
    }
    cold = {i for _, i, _ in shop.log} - kept
    met: dict[str, set[str]] = defaultdict(set)
    for u, i, _ in shop.log:
        if i in cold:
            met[u].add(i)
    offered = {u: [i for i in items if i in cold] for u, items in shop.lists["good"].items()}
    wanted = fmean(ndcg(offered.get(u, []), items, 5) for u, items in met.items())
    row = found["all", "good", "ndcg@5"]
    assert len(cold) == 5 and (row.value, row.n_users) == (pytest.approx(wanted), len(met))
    assert 0.0 < found["all", "good", "coverage@5"].value <= 1.0
    silent = {
        metric: r.value for (part, model, metric), r in found.items() if (part, model) == ("all", "silent")
    }
    assert (silent["coverage@5"], silent["ndcg@5"], silent["auc"]) == (0.0, 0.0, 0.5)
    assert "gini@5" not in silent, "what nobody is shown has no Gini"


def test_the_configured_split_is_the_one_that_is_made(shop: Shop) -> None:
    log = shop.store.read(INTERACTIONS)
    last = split_by(log, EvaluateConfig(protocol="leave_last_out", min_interactions=3))
    assert last.where("part = 'test'").count() == len(shop.parts[0])
    days = ("2024-01-01T06:00:00", "2024-01-01T09:00:00+00:00")
    fixed = split_by(log, EvaluateConfig(protocol="global_time", validation_from=days[0], test_from=days[1]))
    assert fixed.where("part = 'test'").count() == sum(t >= START + timedelta(hours=9) for *_, t in shop.log)
    shares = split_by(log, EvaluateConfig(protocol="global_time"))
    assert 0 < shares.where("part = 'test'").count() <= 0.3 * len(shop.log)
