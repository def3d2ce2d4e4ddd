"""Whatever a log holds, each of its records is accepted or quarantined, and the accepted ones keep the contract."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from vizrec_spark.config.models import InteractionColumns, InteractionsConfig
from vizrec_spark.ingest.interactions import interaction_columns, validate_interactions
from vizrec_spark.ingest.judge import accepted, quarantined
from vizrec_spark.ingest.sources import read_source
from vizrec_spark.tables.reasons import BY_CODE
from vizrec_spark.tables.schemas import INTERACTIONS

KNOWN = ["a", "b", "é,1", 'say "hi"']
_text = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n\x00", exclude_categories=["Cs"]), max_size=6
)
_field = {
    "user_id": st.sampled_from(["u1", "u2", " u1 ", ""]) | _text,
    "item_id": st.sampled_from([*KNOWN, "gone"]) | _text,
    "event": st.sampled_from(["view", "buy", "rating", "teleport", ""]) | _text,
    "rating": st.sampled_from(["", "0.5", "5", "1e0", "NaN", "inf", "9", "-0", "1e999"]) | _text,
    "timestamp": st.sampled_from(
        ["1700000000", "1700000000.5", "2024-02-30", "2024-02-29T12:00:00Z", "0", "9" * 40]
    )
    | _text,
}
_records = st.lists(st.fixed_dictionaries(_field), min_size=40, max_size=120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(records=_records)
def test_every_record_is_accepted_or_quarantined(
    spark: SparkSession, folder: Path, records: list[dict[str, str]]
) -> None:
    file = folder / "events.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(_field), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    config = InteractionsConfig(path=str(file), columns=InteractionColumns(rating="rating"))
    items = spark.createDataFrame([(i,) for i in KNOWN], "item_id string")
    raw = read_source(spark, config, interaction_columns(config.columns), "ingest.interactions")
    judged = validate_interactions(raw, items, config).persist()
    try:
        good = accepted(judged).select(*INTERACTIONS.columns).collect()
        bad = quarantined(judged, "interactions", F.lit("")).collect()
        broken = accepted(judged).where(
            " OR ".join(f"NOT ({check})" for check in INTERACTIONS.checks.values())
        )
        assert broken.isEmpty()
    finally:
        judged.unpersist()
    assert len(good) + len(bad) == len(records)
    assert all(row.record and row.message and row.reason in BY_CODE for row in bad)
    keys = [tuple(row[name] for name in INTERACTIONS.key) for row in good]
    assert len(set(keys)) == len(keys)
    assert all(None not in key and row.item_id in KNOWN for key, row in zip(keys, good, strict=True))
    possible = {(r["user_id"].strip(" "), r["item_id"].strip(" "), r["event"].strip(" ")) for r in records}
    assert {key[:3] for key in keys} <= possible
