"""Tuned, measured, promoted: what the gate lets pass is learned from the whole log, and nothing else is served."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from vizrec_spark.app.promotion import STAGE as PROMOTE
from vizrec_spark.app.stages import BESIDE, BY_NAME
from vizrec_spark.config import load_config
from vizrec_spark.config.load import setting
from vizrec_spark.errors import CandidateHeld, ConfigError, TableError
from vizrec_spark.stage import Stage, StageContext, StageResult
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.schemas import (
    ALS_MODELS,
    BLEND_WEIGHTS,
    INTERACTIONS,
    ITEM_FACTORS,
    ITEMS,
    PROMOTIONS,
    RECOMMENDATIONS,
    TUNING_TRIALS,
    USER_FACTORS,
    USERS,
)

STAGES: dict[str, Stage] = {**BY_NAME, **{stage.name: stage for stage in BESIDE}}
START = datetime(2024, 1, 1, tzinfo=UTC)


class Shop:
    """Two circles with a taste each: forty shoppers, thirty items, a log with a plan."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder = spark, folder
        self.live, self.training, self.current = (
            str(folder / name) for name in ("live", "training", "current")
        )
        rng = np.random.default_rng(3)
        log = []
        for user in range(40):
            liked = np.arange(15) + 15 * (user % 2)
            items = rng.choice(liked, size=12, replace=False)
            log += [
                (f"u{user:02d}", f"i{i:02d}", "view", None, 1.0, START + timedelta(hours=int(n)))
                for n, i in enumerate(items)
            ]
        tables = self.store(self.live)
        tables.overwrite(INTERACTIONS, spark.createDataFrame(log, INTERACTIONS.schema))
        items = [(f"i{i:02d}", f"Item {i}", [], None, None, {}) for i in range(30)]
        tables.overwrite(ITEMS, spark.createDataFrame(items, ITEMS.schema))
        users = [(f"u{user:02d}",) for user in range(40)]
        tables.overwrite(USERS, spark.createDataFrame(users, USERS.schema))

    def store(self, root: str) -> TableStore:
        return TableStore(
            self.spark, load_config(None, [f"tables.root={root}"]).tables, Stamp("look", "t", "0" * 16)
        )

    def run(self, stage: str, root: str, *settings: str, run_id: str = "week-1") -> StageResult:
        pairs = [
            f"tables.root={root}",
            f"als.checkpoint_dir={self.folder / 'checkpoints'}",
            *("als.rank=4", "als.iterations=3", "als.loss_sample=0"),
            *("tune.trials=2", "tune.ranks=[2]", f"tune.output={self.folder / 'tuned.yml'}"),
            *("evaluate.replicates=100", "evaluate.cutoffs=[5]", "evaluate.reference=current"),
            f"evaluate.training={self.training}",
            setting(
                "evaluate.models",
                {
                    "candidate": f"{self.training}/recommendations",
                    "current": f"{self.current}/recommendations",
                },
            ),
            *(
                "evaluate.gate.candidate=candidate",
                "evaluate.gate.current=current",
                "evaluate.gate.metric=ndcg@5",
            ),
            f"evaluate.gate.output={self.folder / 'gate.json'}",
            *settings,
        ]
        config = load_config(None, pairs)
        tables = TableStore(self.spark, config.tables, Stamp(run_id, stage, config.fingerprint()))
        result = STAGES[stage].run(StageContext(self.spark, config, tables, run_id))
        assert result.metrics, f"the record of {stage} would have no figures"
        return result

    def prepared(self) -> Shop:
        """Up to the lists that are judged."""
        self.run("holdout", self.live, setting("evaluate.training_copies", [self.current]))
        self.run("tune", self.training, "als.settings=promoted")
        for root, settings in ((self.training, "tuned"), (self.current, "promoted")):
            self.run("als", root, f"als.settings={settings}")
            self.run("recommend", root)
        return self


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(spark, tmp_path_factory.mktemp("promote")).prepared()


def _rows(tables: TableStore, table: Any) -> list[Any]:
    return tables.read_or_empty(table).collect()


def test_the_candidate_has_the_settings_of_the_best_trial(shop: Shop) -> None:
    training = shop.store(shop.training)
    best = max(_rows(training, TUNING_TRIALS), key=lambda row: (row.value, -row.trial))
    assert _rows(training, ALS_MODELS)[0]["rank"] == int(best.parameters["rank"])
    # Nothing was promoted yet, so what is in service are the configured settings.
    assert _rows(shop.store(shop.current), ALS_MODELS)[0]["rank"] == 4
    with pytest.raises(TableError, match=r"No trial of study .*run job `tune`"):
        shop.run("als", shop.current, "als.settings=tuned")


def test_both_folders_hold_the_window_of_one_version_of_the_log(shop: Shop) -> None:
    training, current = shop.store(shop.training), shop.store(shop.current)
    known = _rows(training, INTERACTIONS)
    assert sorted(known) == sorted(_rows(current, INTERACTIONS)) and 0 < len(known) < 40 * 12
    # An event that comes in between changes neither the window nor what it is measured on.
    live = shop.store(shop.live)
    version = live.version(INTERACTIONS)
    later = [("u00", "i29", "view", None, 1.0, START + timedelta(days=9))]
    live.upsert(INTERACTIONS, shop.spark.createDataFrame(later, INTERACTIONS.schema))
    done = shop.run("holdout", shop.live, f"evaluate.log_version={version}")
    assert done.metrics == {"interactions_version": version}
    assert sorted(_rows(training, INTERACTIONS)) == sorted(known)
    live.delete(INTERACTIONS, F.col("timestamp") == later[0][5])


def test_a_held_candidate_publishes_nothing(shop: Shop) -> None:
    live = shop.store(shop.live)
    for job in ("evaluate", "promote"):
        with pytest.raises(CandidateHeld) as held:
            shop.run(job, shop.live, "evaluate.gate.minimum=1.1", run_id="week-0")
        done = held.value.done
        assert isinstance(done, StageResult) and done.metrics["gate_passed"] == 0
        assert {one.table for one in done.written} == (
            {"metrics", "worst_lists"} if job == "evaluate" else set()
        )
    assert not live.exists(PROMOTIONS) and not live.exists(USER_FACTORS)


def test_what_was_not_measured_is_not_promoted(shop: Shop) -> None:
    with pytest.raises(TableError, match="has measured nothing"):
        shop.run("promote", shop.live, run_id="nobody")
    assert PROMOTE.check is not None
    with pytest.raises(ConfigError, match=r"evaluate\.gate\.candidate"):
        PROMOTE.check(load_config(None, []))


def test_a_promoted_model_learns_from_the_whole_log_and_is_the_one_that_is_served(shop: Shop) -> None:
    live, loose = shop.store(shop.live), ["evaluate.gate.tolerance=1.0", "als.settings=tuned"]
    # Before the first promotion lists are made without one, and say so.
    before = shop.run("recommend", shop.live, "recommend.model=promoted")
    assert any("no model was promoted yet" in note for note in before.notes)
    assert {row.model_id for row in _rows(live, RECOMMENDATIONS)} == {None}
    # Nor is anything learned for a model that nobody is served by.
    weights = {row.feature: row.weight for row in _rows(live, BLEND_WEIGHTS)}
    assert weights["als"] == weights["new_als"] == 0 < sum(map(abs, weights.values()))
    shop.run("evaluate", shop.live, *loose)
    shop.run("promote", shop.live, *loose)
    [promotion] = _rows(live, PROMOTIONS)
    factors = _rows(live, ITEM_FACTORS)
    assert (promotion.number, promotion.run_id) == (1, "week-1")
    assert {row.model_id for row in factors} == {promotion.model_id}
    assert len(factors[0].factors) == int(promotion.settings["rank"])
    model = {row.model_id: row for row in _rows(live, ALS_MODELS)}[promotion.model_id]
    trained = _rows(shop.store(shop.training), ALS_MODELS)[0]
    assert model.preferences == 40 * 12 > trained.preferences
    shop.run("recommend", shop.live, "recommend.model=promoted")
    assert {row.model_id for row in _rows(live, RECOMMENDATIONS)} == {promotion.model_id}
    # Who has come since has factors of that model, from what they did; the list of another is as it was.
    lists = {(row.user_id, row.rank): row.score_cf for row in _rows(live, RECOMMENDATIONS)}
    assert any(lists.values())
    came = START + timedelta(days=30)
    new = [("late", f"i{i:02d}", "view", None, 1.0, came) for i in range(0, 15, 3)]
    live.upsert(INTERACTIONS, shop.spark.createDataFrame(new, INTERACTIONS.schema))
    live.upsert(USERS, shop.spark.createDataFrame([("late",)], USERS.schema))
    shop.run("recommend", shop.live, "recommend.model=promoted")
    assert any(row.score_cf for row in _rows(live, RECOMMENDATIONS) if row.user_id == "late")
    live.delete(INTERACTIONS, F.col("timestamp") == came)
    live.delete(USERS, F.col("user_id") == "late")
    shop.run("recommend", shop.live, "recommend.model=promoted")
    assert {(row.user_id, row.rank): row.score_cf for row in _rows(live, RECOMMENDATIONS)} == lists
    # Repeated, it stays promotion 1, and the same model.
    versions = [live.version(table) for table in (USER_FACTORS, ITEM_FACTORS)]
    shop.run("promote", shop.live, *loose)
    assert _rows(live, PROMOTIONS) == [promotion]
    assert [live.version(table) for table in (USER_FACTORS, ITEM_FACTORS)] == versions
    # What is learned meanwhile is not served, and takes nothing away.
    served = {row.user_id: row.score for row in _rows(live, RECOMMENDATIONS) if row.rank == 1}
    shop.run("als", shop.live, "als.rank=3")
    shop.run("recommend", shop.live, "recommend.model=promoted")
    assert {row.model_id for row in _rows(live, RECOMMENDATIONS)} == {promotion.model_id}
    assert {row.user_id: row.score for row in _rows(live, RECOMMENDATIONS) if row.rank == 1} == served
    shop.run("recommend", shop.live)
    assert {row.model_id for row in _rows(live, RECOMMENDATIONS)} == {_rows(live, USER_FACTORS)[0].model_id}
    # With the promoted settings and the same log it is that model again.
    shop.run("als", shop.live, "als.settings=promoted")
    assert {row.model_id for row in _rows(live, USER_FACTORS)} == {promotion.model_id}
    # What was written to the candidate's tables since it was measured has passed no gate.
    training = shop.store(shop.training)
    training.overwrite(RECOMMENDATIONS, training.pinned(RECOMMENDATIONS))
    with pytest.raises(TableError, match=r"recommendations .* was written to since run week-1 measured"):
        shop.run("promote", shop.live, *loose)
    # A row whose versions hold another model, or are gone, is not believed.
    other = live.version(USER_FACTORS) - 1
    for versions, told in (((other, other), "of the factors hold"), ((99, 99), "cannot be had")):
        names = "user_factors_version", "item_factors_version"
        row = promotion.asDict() | dict(zip(names, versions, strict=True))
        live.upsert(PROMOTIONS, shop.spark.createDataFrame([row], PROMOTIONS.schema))
        with pytest.raises(TableError, match=rf"promoted model .*{promotion.model_id}.* {told}"):
            shop.run("recommend", shop.live, "recommend.model=promoted")
