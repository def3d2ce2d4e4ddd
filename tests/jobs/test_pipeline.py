"""The whole pipeline on the generated shop: what it writes, what it says, and that it can be repeated."""

from __future__ import annotations

import json
import re
import shutil

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from tests.jobs.conftest import PIPELINE_TABLES, DemoRun, rows_of
from vizrec_spark.app.stages import PIPELINE
from vizrec_spark.demo import Truth


def test_the_summary_tells_every_table_with_its_true_number_of_rows(
    demo: DemoRun, spark: SparkSession
) -> None:
    for table in PIPELINE_TABLES:
        told = re.findall(rf"│ {table.name} +│ +([\d,]+) │", demo.stdout)
        assert told, f"{table.name} is not in the summary:\n{demo.stdout}"
        assert int(told[-1].replace(",", "")) == demo.table(spark, table.name).count()
    assert "report.html" in demo.stdout and (demo.folder / "report.html").is_file()


def test_every_commit_says_who_made_it(demo: DemoRun, spark: SparkSession) -> None:
    for table in PIPELINE_TABLES:
        path = demo.folder / "tables" / table.name
        history = spark.sql(f"DESCRIBE HISTORY delta.`{path}`").collect()
        for commit in history:
            stamp = json.loads(commit.userMetadata)
            assert set(stamp) == {"run_id", "stage", "config_hash"} and all(stamp.values())


def test_every_stage_has_a_record_with_what_it_measured(demo: DemoRun, spark: SparkSession) -> None:
    runs = {row.stage: row for row in demo.table(spark, "runs").collect()}
    assert sorted(runs) == sorted(stage.name for stage in PIPELINE)
    assert len({row.run_id for row in runs.values()}) == 1
    assert all(row.outcome == "done" and row.seconds > 0 for row in runs.values())
    for row in runs.values():
        for left in row.tables:
            found = spark.sql(f"DESCRIBE HISTORY delta.`{demo.folder / 'tables' / left.table}`").collect()
            assert left.version in {commit.version for commit in found} and left.bytes >= 0
    quarantined = demo.table(spark, "quarantine").where("source = 'images'").count()
    measured = runs["ingest"].metrics
    assert measured["images_refused"] == quarantined
    assert "later ingest" not in (demo.folder / "report.html").read_text(encoding="utf-8")
    assert 0 < measured["images_refused_share"] <= quarantined / measured["images_records"]
    assert runs["embed"].metrics["pictures_per_second"] > 0 and runs["similar"].metrics["recall"] == 1.0


def test_quarantine_holds_exactly_what_was_planted(demo: DemoRun, spark: SparkSession) -> None:
    stamp = json.loads((demo.folder / "landing" / "shop.json").read_text(encoding="utf-8"))
    planted = {(fault["source"], fault["reason"]): fault["count"] for fault in stamp["summary"]["faults"]}
    rows = demo.table(spark, "quarantine").groupBy("source", "reason").count().collect()
    assert {(r.source, r.reason): r["count"] for r in rows} == planted


def test_every_input_is_accounted_for(demo: DemoRun) -> None:
    lines = re.findall(
        r"ingest: (\w+): ([\d,]+) in (\S+) ([\d,]+) accepted \+ ([\d,]+) quarantined", demo.stderr
    )
    assert {line[0] for line in lines} == {"catalogue", "users", "interactions", "images"}
    for _, total, sign, kept, refused in lines:
        assert sign == "="
        assert int(total.replace(",", "")) == int(kept.replace(",", "")) + int(refused.replace(",", ""))


def test_every_user_gets_a_full_list_of_unseen_items(demo: DemoRun, spark: SparkSession) -> None:
    offers = demo.table(spark, "recommendations").toPandas()
    users = set(demo.table(spark, "users").toPandas().user_id)
    seen = demo.table(spark, "interactions").select("user_id", "item_id").distinct().toPandas()
    assert set(offers.user_id) == users
    assert (offers.groupby("user_id").size() == 20).all()
    assert offers.merge(seen, on=["user_id", "item_id"]).empty
    assert not offers.duplicated(["user_id", "item_id"]).any()


def test_visual_reasons_name_an_item_of_the_history_and_cold_items_are_offered(
    demo: DemoRun, spark: SparkSession
) -> None:
    offers = demo.table(spark, "recommendations").toPandas()
    touched = demo.table(spark, "interactions").select("user_id", "item_id").distinct().toPandas()
    caused = offers[offers.source != "popularity"]
    named = caused.merge(
        touched,
        left_on=["user_id", "because_item_id"],
        right_on=["user_id", "item_id"],
        suffixes=("", "_seen"),
    )
    assert len(named) == len(caused) > 0
    titles = demo.table(spark, "items").toPandas().set_index("item_id").title
    assert all(titles[row.because_item_id] in row.reason for row in caused.itertuples())
    cold = offers[~offers.item_id.isin(set(touched.item_id))]
    alike = cold[cold.because_item_id.notna()]
    assert alike.reason.str.startswith("New").all()
    # At least 5 % of a list of 20 goes to them, and most are there for what they are like.
    assert (cold.groupby("user_id").size().reindex(offers.user_id.unique(), fill_value=0) >= 1).all()
    assert len(alike) > 0.5 * len(cold)


def test_running_again_writes_the_same_tables_and_embeds_nothing(demo: DemoRun, spark: SparkSession) -> None:
    before = {table.name: rows_of(demo.table(spark, table.name)) for table in PIPELINE_TABLES}
    results = {stage.name: demo.run(spark, stage.name, demo.folder / "tables") for stage in PIPELINE}
    embeddings, *_ = results["embed"].written
    assert (embeddings.table, embeddings.changed) == ("embeddings", 0)
    assert "up to date" in results["als"].notes[0]
    for name, content in before.items():
        assert rows_of(demo.table(spark, name)) == content, name


@pytest.fixture(scope="module")
def taste(demo: DemoRun, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Share of the first 10 offers that meet a shopper's looks and circle; what a model lacks is left out of it."""
    tables = tmp_path_factory.mktemp("taste") / "tables"
    shutil.copytree(demo.folder / "tables", tables)
    truth = Truth.read(demo.folder / "landing")
    active = demo.table(spark, "interactions").select("user_id").distinct()
    content, choices = ["visual", "attributes"], ["cf", "cooccurrence"]
    cut = {"hybrid": [], "no_visual": content, "no_cf": choices, "popularity": content + choices}
    shares = {}
    for model, parts in cut.items():
        if parts:  # the demo has run with all of them
            demo.run(spark, "recommend", tables, *(f"recommend.weights.{part}=0" for part in parts))
        offers = spark.read.format("delta").load(str(tables / "recommendations")).where("rank <= 10")
        shares[model] = truth.shares(offers.join(active, "user_id").select("user_id", "item_id").toPandas())
    return pd.DataFrame(shares, index=["look", "circle"]).T


def test_shoppers_get_items_of_their_taste(taste: pd.DataFrame) -> None:
    print(f"\n{taste}\n{taste / taste.loc['popularity']}")
    ratio = taste / taste.loc["popularity"]
    assert ratio.loc["hybrid", "look"] > 2.0
    assert ratio.loc["hybrid", "circle"] > 1.4


def test_the_looks_come_from_the_visual_part_and_the_circle_from_cf(taste: pd.DataFrame) -> None:
    assert taste.loc["hybrid", "look"] > 1.2 * taste.loc["no_visual", "look"]
    assert taste.loc["hybrid", "circle"] > 1.2 * taste.loc["no_cf", "circle"]
