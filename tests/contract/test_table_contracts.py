"""Every table keeps its contract: what is valid goes in and comes back, what is not is refused by Delta itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType
from pyspark.testing import assertDataFrameEqual, assertSchemaEqual

from vizrec_spark.config.models import TablesConfig
from vizrec_spark.errors import TableError
from vizrec_spark.tables import Stamp, Table, TableStore
from vizrec_spark.tables.schemas import ALL_TABLES

STAMP = Stamp("run-1", "contract-test", "0123456789abcdef")
WHEN = datetime(2024, 5, 31, 12, tzinfo=UTC)
SHA = "0123456789abcdef" * 4
NAN = float("nan")
Values = Mapping[str, Any]

OFFER: Values = {
    "rank": 1,
    "item_id": "007",
    "score": 0.75,
    "score_cf": 0.25,
    "score_cooccurrence": 0.0,
    "score_visual": 0.5,
    "score_attributes": 0.0,
    "score_popularity": 0.0,
    "score_boost": 0.0,
    "source": "visual",
    "proposed_by": ["visual"],
    "because_item_id": "b",
    "because": {"visual": "b"},
    "reason": "Looks like B.",
}

VALID: dict[str, Values] = {
    "items": {
        "item_id": "007",
        "title": "Bag",
        "categories": ["bags"],
        "price": 0.0,
        "added_at": WHEN,
        "attributes": {"colour": "red"},
    },
    "users": {"user_id": "anna"},
    "segments": {"user_id": "anna", "segment": "north"},
    "images": {
        "item_id": "007",
        "path": "a b/ü.jpg",
        "sha256": SHA,
        "width": 1,
        "height": 1,
        "format": "JPEG",
        "bytes": 1,
        "modified": WHEN,
        "content": bytearray(b"\x00"),
    },
    "interactions": {
        "user_id": "anna",
        "item_id": "007",
        "event": "view",
        "rating": 4.5,
        "weight": 1.0,
        "timestamp": WHEN,
    },
    "quarantine": {
        "stage": "ingest",
        "source": "images",
        "reason": "not_an_image",
        "message": "No picture.",
        "key": "007",
        "record": "a.jpg",
    },
    "encoders": {"config_key": "{}", "encoder_id": "e1", "dimension": 1},
    "embeddings": {"sha256": SHA, "encoder_id": "e1", "vector": [0.5]},
    "encoding_failures": {"sha256": SHA, "encoder_id": "e1", "reason": "truncated", "message": "cut"},
    "item_neighbors": {
        "encoder_id": "e1",
        "item_id": "a",
        "rank": 1,
        "neighbor_id": "b",
        "cosine": 1.0,
        "distance": 0.0,
    },
    "similarity_quality": {
        "encoder_id": "e1",
        "method": "exact",
        "plan": "shared",
        "setting": "all pairs",
        "metric": "cosine",
        "fingerprint": "f" * 64,
        "n_items": 2,
        "n_searched": 2,
        "k": 1,
        "target_recall": 0.95,
        "recall": 1.0,
        "recall_lo": 0.5,
        "recall_hi": 1.0,
        "n_queries": 2,
        "candidates_per_item": 1.0,
        "n_reranked": 1,
        "n_buckets": 1,
        "bucket_histogram": [0, 1],
        "bucket_skew": 1.0,
        "max_bucket_share": 1.0,
        "n_split_buckets": 0,
        "n_cut_pairs": 0,
        "mean_cosine": 0.25,
    },
    "compared_items": {"encoder_id": "e1", "item_id": "007", "content": "0a" * 32, "looks": [0.5, -0.5]},
    "category_neighbors": {
        "encoder_id": "e1",
        "item_id": "007",
        "category": "shoe",
        "rank": 1,
        "neighbor_id": "008",
        "cosine": 1.0,
        "distance": 0.0,
    },
    "near_duplicates": {"encoder_id": "e1", "item_id": "008", "group_id": "007", "group_size": 2},
    "id_map": {"kind": "user", "id": "anna", "index": 0},
    "user_factors": {"model_id": "m1", "user_id": "anna", "factors": [0.5, -0.5]},
    "item_factors": {"model_id": "m1", "item_id": "007", "factors": [0.5, -0.5]},
    "als_models": {
        "model_id": "m1",
        "id_map_version": 3,
        "preferences": 20,
        "rank": 2,
        "iterations": 3,
        "blocks": 2,
        "linear_algebra": "plain Java",
        "losses": [2.0, 1.0],
        "loss": 1.0,
        "path": "models/m1",
        "settings": {"rank": 2.0},
    },
    "tuning_trials": {
        "study_id": "s1",
        "trial": 0,
        "parameters": {"rank": 32.0},
        "metric": "ndcg@20",
        "value": 0.5,
    },
    "recommendations": {
        "user_id": "anna",
        "rank": 1,
        "item_id": "007",
        "score": 0.75,
        "score_cf": 0.25,
        "score_cooccurrence": 0.0,
        "score_visual": 0.5,
        "score_attributes": 0.0,
        "score_popularity": 0.0,
        "score_boost": 0.0,
        "source": "visual",
        "proposed_by": ["visual"],
        "because_item_id": "b",
        "because": {"visual": "b"},
        "reason": "Looks like B.",
        "model_id": "m1",
        "encoder_id": "e1",
    },
    "metrics": {
        "run_id": "day-1",
        "protocol": "user_time",
        "slice": "all",
        "model": "hybrid",
        "metric": "ndcg@10",
        "value": 0.25,
        "lo": 0.125,
        "hi": 0.375,
        "n_users": 30,
        "reference": "als",
        "difference": -0.25,
        "n_both": 28,
        "difference_lo": -0.5,
        "difference_hi": 0.0,
        "p_value": 1.0,
    },
    "worst_lists": {
        "run_id": "day-1",
        "protocol": "user_time",
        "model": "hybrid",
        "metric": "ndcg@10",
        "place": 1,
        "user_id": "anna",
        "value": 0.0,
        "n_known": 0,
        "n_relevant": 3,
        "first_hit": None,
        "offered": [],
        "missed": ["007"],
    },
    "promotions": {
        "number": 1,
        "run_id": "day-1",
        "model_id": "m1",
        "user_factors_version": 3,
        "item_factors_version": 4,
        "settings": {"rank": 8.0},
        "decision": "{}",
    },
    "runs": {
        "run_id": "day-1",
        "stage": "als",
        "config_hash": "0123456789abcdef",
        "outcome": "done",
        "finished_at": WHEN,
        "seconds": 1.5,
        "encoder": "keras.applications:ResNet50",
        "tables": [("als_models", 1, 1, 1, 1000)],
        "metrics": {"loss": 0.5},
        "notes": ["learned"],
    },
    "restores": {
        "run_id": "undo-1",
        "event": "planned",
        "at": WHEN,
        "asked": "day-1",
        "takes_back": [("day-1", "als")],
        "tables": [("user_factors", 2, 1, 1, 3)],
        "read_since": [("day-1", "recommend")],
    },
    "item_recommendations": {
        "item_id": "a",
        "kind": "complement",
        "rank": 1,
        "other_item_id": "b",
        "score": 0.5,
        "looks": 0.0,
        "together": 0.5,
    },
    "thumbnails": {"sha256": SHA, "size": 96, "jpeg": bytearray(b"\xff"), "width": 96, "height": 1},
    "blend_weights": {
        "feature": "als",
        "part": "cf",
        "weight": 0.5,
        "weight_lo": 0.4,
        "weight_hi": 0.6,
        "scale": 1.0,
        "method": "learned",
        "learned_share": 1.0,
        "half_life": 16.0,
        "regularization": 100.0,
        "ndcg10_alone": 0.1,
        "blend_difference": 0.01,
        "blend_difference_lo": 0.0,
        "blend_difference_hi": 0.02,
    },
    "live_events": {
        "event_id": "e1",
        "user_id": "anna",
        "item_id": "007",
        "event": "rating",
        "rating": 4.0,
        "weight": 1.0,
        "timestamp": WHEN,
        "arrived_at": WHEN,
        "query_id": "q1",
        "batch": 0,
    },
    "live_recommendations": {
        "user_id": "anna",
        "offers": [OFFER],
        "latest": ["b"],
        "last_event_at": WHEN,
        "updated_at": WHEN,
        "batch": 0,
        "model_id": "m1",
        "encoder_id": "e1",
    },
    "labelled_pictures": {
        "name": "shop",
        "sha256": SHA,
        "labels": ["bag"],
        "part": "train",
        "group_id": SHA,
    },
    "adaptation_trials": {
        "study_id": "head-1",
        "trial": 0,
        "parameters": {"dropout": 0.5},
        "metric": "log_loss",
        "value": 0.4,
        "epochs": [0.5, 0.4],
        "pruned": False,
    },
    "fine_tuned_encoders": {
        "encoder_id": "shop_tuned-1",
        "made_from": SHA,
        "name": "shop",
        "base_encoder_id": "e1",
        "input_height": 32,
        "input_width": 32,
        "dimension": 1,
        "classes": ["bag", "hat"],
        "blocks": ["block2"],
        "precision": "float32",
        "epochs": 3,
        "loss_before": 1.0,
        "loss_after": 0.5,
        "settings": "{}",
        "sha256": SHA,
        "created_at": WHEN,
    },
    "fine_tuned_pictures": {"encoder_id": "shop_tuned-1", "sha256": SHA, "part": "train"},
    "encoder_files": {"encoder_id": "shop_tuned-1", "piece": 0, "content": b"PK"},
    "adapted_encoders": {
        "name": "shop",
        "version": 1,
        "encoder_id": "a1",
        "base_encoder_id": "e1",
        "base_config": "{}",
        "dimension": 1,
        "classes": ["bag", "hat"],
        "kind": "multi_class",
        "settings": "{}",
        "metrics": {"accuracy": 0.5},
        "data_versions": {"images": 3},
        "sha256": SHA,
        "weights": bytearray(b"\x00"),
        "created_at": WHEN,
    },
    "encoder_promotions": {
        "name": "shop",
        "stage": "production",
        "number": 1,
        "version": 1,
        "reason": "first",
    },
    "adaptation_metrics": {
        "encoder_id": "shop-1",
        "metric": "accuracy",
        "label": "",
        "value": 0.5,
        "lo": 0.25,
        "hi": 0.75,
        "pictures": 30,
    },
    "confusions": {"encoder_id": "shop-1", "label": "bag", "predicted": "hat", "pictures": 0},
    "adaptation_curves": {
        "encoder_id": "shop-1",
        "curve": "roc",
        "label": "bag",
        "point": 0,
        "x": 0.0,
        "y": 1.0,
        "threshold": 0.5,
        "pictures": 3,
    },
    "adaptation_mistakes": {
        "encoder_id": "shop-1",
        "label": "bag",
        "rank": 1,
        "sha256": SHA,
        "predicted": "hat",
        "probability": 0.5,
    },
    "image_labels": {
        "sha256": SHA,
        "encoder_id": "a1",
        "label": "bag",
        "probability": 0.5,
        "rank": 1,
        "given": True,
    },
}

# For each constraint, changes to the valid row that break this constraint and no other.
BROKEN: dict[str, dict[str, list[Values]]] = {
    "items": {
        "item_id_not_empty": [{"item_id": ""}],
        "price_not_negative": [{"price": -0.01}, {"price": NAN}, {"price": float("inf")}],
    },
    "users": {"user_id_not_empty": [{"user_id": ""}]},
    "segments": {"user_id_not_empty": [{"user_id": ""}], "segment_not_empty": [{"segment": ""}]},
    "images": {
        "sha256_is_hex": [{"sha256": SHA.upper()}, {"sha256": SHA[1:]}],
        "has_pixels": [{"width": 0}, {"height": 0}],
        "has_bytes": [{"bytes": 0}],
    },
    "interactions": {
        "weight_not_negative": [{"weight": -1.0}, {"weight": NAN}],
        "rating_finite": [{"rating": NAN}, {"rating": float("inf")}],
    },
    "quarantine": {"reason_is_code": [{"reason": "Not an image"}, {"reason": ""}]},
    "encoders": {"dimension_positive": [{"dimension": 0}]},
    "embeddings": {"sha256_is_hex": [{"sha256": "x"}], "vector_not_empty": [{"vector": []}]},
    "encoding_failures": {"sha256_is_hex": [{"sha256": "x"}], "reason_is_code": [{"reason": "Bad one"}]},
    "item_neighbors": {
        "rank_from_one": [{"rank": 0}],
        "not_itself": [{"neighbor_id": "a"}],
        "cosine_range": [{"cosine": 1.01}, {"cosine": NAN}],
        "distance_range": [{"distance": -0.5}, {"distance": NAN}],
    },
    "similarity_quality": {
        "recall_share": [
            {"recall": 1.5, "recall_hi": 2.0},
            {"recall_lo": 1.1},
            {"recall_hi": 0.9},
            {"recall_hi": NAN},
        ]
    },
    "compared_items": {"content_is_hex": [{"content": "0A" * 32}, {"content": "0a"}]},
    "category_neighbors": {"rank_from_one": [{"rank": 0}], "not_itself": [{"neighbor_id": "007"}]},
    "near_duplicates": {"group_of_two": [{"group_size": 1}]},
    "id_map": {"index_from_zero": [{"index": -1}], "kind_known": [{"kind": "shop"}]},
    "user_factors": {"factors_not_empty": [{"factors": []}]},
    "item_factors": {"factors_not_empty": [{"factors": []}]},
    "als_models": {"sizes_positive": [{"preferences": 0}, {"rank": 0}, {"iterations": 0}, {"blocks": 0}]},
    "tuning_trials": {
        "trial_from_zero": [{"trial": -1}],
        "value_share": [{"value": -0.1}, {"value": 1.1}, {"value": NAN}],
    },
    "recommendations": {
        "rank_from_one": [{"rank": 0}],
        "parts_add_up": [{"score": 0.76}, {"score_cf": NAN}],
        "source_known": [{"source": "magic"}],
    },
    "metrics": {
        "value_finite": [{"value": NAN}, {"value": float("inf")}],
        "interval_in_order": [{"lo": 0.5}, {"hi": NAN}],
        "difference_in_order": [{"difference_lo": 0.5}, {"difference_hi": NAN}],
        "n_users_positive": [{"n_users": 0, "n_both": None}],
        "n_both_of_users": [{"n_both": 0}, {"n_both": 31}],
        "p_value_share": [{"p_value": 0.0}, {"p_value": NAN}],
    },
    "worst_lists": {
        "value_finite": [{"value": NAN}, {"value": float("inf")}],
        "place_positive": [{"place": 0}],
        "first_hit_positive": [{"first_hit": 0}],
        "n_relevant_positive": [{"n_relevant": 0}],
        "n_known_not_negative": [{"n_known": -1}],
    },
    "promotions": {"number_from_one": [{"number": 0}]},
    "runs": {"outcome_known": [{"outcome": "lost"}], "seconds_from_zero": [{"seconds": -1.0}]},
    "restores": {"event_known": [{"event": "begun"}]},
    "item_recommendations": {
        "rank_from_one": [{"rank": 0}],
        "kind_known": [{"kind": "other"}],
        "not_itself": [{"other_item_id": "a"}],
        "score_range": [{"score": -0.1}, {"score": NAN}],
    },
    "thumbnails": {
        "sha256_is_hex": [{"sha256": "x"}],
        "size_positive": [{"size": 0}],
        "sides_positive": [{"width": 0}, {"height": 0}],
    },
    "blend_weights": {
        "scale_positive": [{"scale": 0.0}],
        "method_known": [{"method": "magic"}],
        "learned_share_range": [{"learned_share": 1.1}, {"learned_share": NAN}],
        "settings_positive": [{"half_life": 0.0}, {"regularization": -1.0}],
    },
    "live_events": {
        "event_id_not_empty": [{"event_id": ""}],
        "weight_not_negative": [{"weight": -1.0}, {"weight": NAN}],
        "rating_finite": [{"rating": NAN}, {"rating": float("inf")}],
    },
    "live_recommendations": {"user_id_not_empty": [{"user_id": ""}]},
    "labelled_pictures": {"sha256_is_hex": [{"sha256": "x"}], "part_known": [{"part": "dev"}]},
    "adapted_encoders": {
        "version_from_one": [{"version": 0}],
        "dimension_positive": [{"dimension": 0}],
        "kind_known": [{"kind": "regression"}],
        "sha256_is_hex": [{"sha256": "x"}],
    },
    "adaptation_trials": {
        "trial_from_zero": [{"trial": -1}],
        "value_not_negative": [{"value": -0.1}, {"value": NAN}],
    },
    "fine_tuned_encoders": {
        "dimension_positive": [{"dimension": 0}],
        "input_positive": [{"input_height": 0}, {"input_width": -1}],
        "epochs_from_one": [{"epochs": 0}],
        "sha256_is_hex": [{"sha256": "x"}],
    },
    "fine_tuned_pictures": {
        "sha256_is_hex": [{"sha256": "x"}],
        "part_known": [{"part": "test"}],
    },
    "encoder_files": {"piece_from_zero": [{"piece": -1}]},
    "encoder_promotions": {"number_from_one": [{"number": 0}], "version_from_one": [{"version": 0}]},
    "adaptation_metrics": {
        "value_share": [{"value": 1.5}, {"value": NAN}],
        "interval_in_order": [{"lo": 0.9}, {"hi": NAN}],
        "pictures_positive": [{"pictures": 0}],
    },
    "confusions": {"pictures_not_negative": [{"pictures": -1}]},
    "adaptation_curves": {
        "curve_known": [{"curve": "lift"}],
        "x_share": [{"x": -0.1}, {"x": NAN}],
        "y_share": [{"y": 1.1}, {"y": NAN}],
    },
    "adaptation_mistakes": {
        "rank_from_one": [{"rank": 0}],
        "probability_share": [{"probability": 1.1}, {"probability": NAN}],
    },
    "image_labels": {
        "sha256_is_hex": [{"sha256": "x"}],
        "probability_share": [{"probability": -0.1}, {"probability": NAN}],
        "rank_from_one": [{"rank": 0}],
    },
}

every_table = pytest.mark.parametrize("table", ALL_TABLES, ids=lambda table: table.name)


def rows_of(spark: SparkSession, table: Table, *changes: Values) -> DataFrame:
    """The valid row with each of `changes`, nullable throughout as a Spark job would hand it in."""
    loose = StructType.fromJson(json.loads(table.schema.json()))
    for field in loose.fields:
        field.nullable = True
    rows = [{**VALID[table.name], **change} for change in changes]
    return spark.createDataFrame([tuple(row[name] for name in table.columns) for row in rows], loose)


@pytest.fixture(scope="module")
def store(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> TableStore:
    """One place for the module; tables are made on first use and shared."""
    return TableStore(spark, TablesConfig(root=str(tmp_path_factory.mktemp("contracts"))), STAMP)


def test_every_constraint_has_a_row_that_breaks_it() -> None:
    assert {t.name: set(t.checks) for t in ALL_TABLES} == {name: set(by) for name, by in BROKEN.items()}


@every_table
def test_a_valid_row_comes_back_as_it_went_in(spark: SparkSession, store: TableStore, table: Table) -> None:
    nulls = {field.name: None for field in table.schema.fields if field.nullable}
    valid = rows_of(spark, table, {}, {**nulls, **_other_key(table)})
    shuffled = valid.select(*reversed(table.columns), F.lit(1).alias("surplus"))
    written = store.overwrite(table, shuffled)
    assert (written.table, written.rows) == (table.name, 2)
    back = store.read(table)
    assertDataFrameEqual(back, valid)
    assertSchemaEqual(back.schema, table.schema, ignoreNullable=False)


@every_table
def test_each_example_breaks_its_constraint(spark: SparkSession, table: Table) -> None:
    examples = [(name, example) for name, by in BROKEN[table.name].items() for example in by]
    if not examples:
        return
    rows = rows_of(spark, table, *(example for _, example in examples))
    kept = rows.select(*(F.expr(check).alias(name) for name, check in table.checks.items())).collect()
    assert [name for (name, _), row in zip(examples, kept, strict=True) if row[name]] == []


def test_delta_refuses_what_breaks_a_constraint(spark: SparkSession, store: TableStore) -> None:
    # By one write of one table; that every constraint stands in Delta is looked at below, and that it bites above.
    [table] = [table for table in ALL_TABLES if table.name == "recommendations"]
    store.ensure(table)
    constraint, examples = list(BROKEN[table.name].items())[-1]
    with pytest.raises(TableError, match=rf"Table {table.name} .* CHECK constraint {constraint} "):
        store.overwrite(table, rows_of(spark, table, {}, examples[0]))


def test_delta_refuses_nulls(spark: SparkSession, store: TableStore) -> None:
    [table] = [table for table in ALL_TABLES if table.name == "interactions"]
    store.ensure(table)
    with pytest.raises(TableError, match=r"NOT NULL constraint violated for column: timestamp"):
        store.overwrite(table, rows_of(spark, table, {"timestamp": None}))


@every_table
def test_other_columns_are_refused_before_anything_is_written(spark: SparkSession, table: Table) -> None:
    valid = rows_of(spark, table, {})
    last = table.columns[-1]
    with pytest.raises(TableError, match=rf"Table {table.name}: `{last}` is missing"):
        table.conform(valid.drop(last))
    with pytest.raises(TableError, match=rf"`{last}` is date, expected"):
        table.conform(valid.withColumn(last, F.current_date()))


@every_table
def test_layout_and_meaning_are_kept_in_delta(spark: SparkSession, store: TableStore, table: Table) -> None:
    store.ensure(table)
    [detail] = spark.sql(f"DESCRIBE DETAIL delta.`{store.location(table)}`").collect()
    assert detail.description == table.description
    assert detail.partitionColumns == list(table.partition_by)
    assert detail.properties["vizrec.contractVersion"] == str(table.version)
    kept = {
        k.removeprefix("delta.constraints."): v for k, v in detail.properties.items() if "constraints." in k
    }
    assert kept == dict(table.checks)
    fields = spark.read.format("delta").load(store.location(table)).schema.fields
    assert [(f.name, f.nullable, f.metadata["comment"]) for f in fields] == [
        (f.name, f.nullable, f.metadata["comment"]) for f in table.schema.fields
    ]


def test_a_table_without_a_key_takes_no_merge(spark: SparkSession, store: TableStore) -> None:
    [keyless] = [table for table in ALL_TABLES if not table.key]
    with pytest.raises(TableError, match="has no key to merge by"):
        store.upsert(keyless, rows_of(spark, keyless, {}))


def test_a_newer_contract_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    users = ALL_TABLES[1]
    place = TableStore(spark, TablesConfig(root=str(tmp_path)), STAMP)
    place.ensure(replace(users, version=2))
    for refused in (
        lambda: place.read(users),
        lambda: place.read_or_empty(users),
        lambda: place.overwrite(users, rows_of(spark, users, {})),
        lambda: place.upsert(users, rows_of(spark, users, {})),
    ):
        with pytest.raises(TableError, match="contract version 2, this program knows 1"):
            refused()


def test_an_older_contract_is_refused(spark: SparkSession, store: TableStore) -> None:
    users = ALL_TABLES[1]
    store.ensure(users)
    place = store.location(users).removesuffix(f"/{users.name}")
    later = TableStore(spark, TablesConfig(root=place), STAMP)
    with pytest.raises(TableError, match=r"contract version 1, this program writes 2.*run stage `ingest`"):
        later.read(replace(users, version=2))


def _other_key(table: Table) -> Values:
    """A change to the valid row that gives it another key and breaks nothing."""
    name = (table.key or ("record",))[-1]
    value = VALID[table.name][name]
    if name == "sha256":
        return {name: "f" * 64}
    if isinstance(value, str):
        return {name: f"{value}x"}
    return {name: value.replace(year=2025) if isinstance(value, datetime) else value + 1}
