"""Leaks that are planted are caught, and a clean model passes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vizrec_spark.errors import LeakFound
from vizrec_spark.evaluate.leakage import leaked_counts, leaked_factors, leaked_interactions, refuse_leaks
from vizrec_spark.evaluate.splits import cold_items, known_before_test, user_time

SCHEMA = "user_id string, item_id string, event string, timestamp timestamp"


@pytest.fixture(scope="module")
def log(spark: SparkSession) -> DataFrame:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    rows = [
        (f"u{u}", f"i{(u * 3 + n) % 20}", "view", start + timedelta(days=u, hours=n))
        for u in range(8)
        for n in range(10)
    ]
    return spark.createDataFrame(rows, SCHEMA)


def people(seen: DataFrame) -> DataFrame:
    return seen.groupBy("item_id").agg(F.count_distinct("user_id").alias("people"))


def test_a_model_of_the_training_window_passes(log: DataFrame) -> None:
    for split in (user_time(log), cold_items(log, share=0.2, seed=1)):
        seen = known_before_test(split)
        refuse_leaks(
            "als",
            interactions=leaked_interactions(seen, split),
            counts=leaked_counts(people(seen), split),
            factors=leaked_factors(seen.select("item_id"), split),
        )


def test_one_leaked_interaction_is_caught(log: DataFrame) -> None:
    split = user_time(log)
    last = log.where("user_id = 'u3'").orderBy(F.desc("timestamp")).limit(1)
    leaked = leaked_interactions(known_before_test(split).unionByName(last), split)
    assert [tuple(r)[:2] for r in leaked.collect()] == [tuple(r)[:2] for r in last.collect()]
    with pytest.raises(LeakFound, match=r"'als' has seen .*1 interactions \(one is user_id u3, item_id i18"):
        refuse_leaks("als", interactions=leaked)


def test_popularity_of_the_whole_log_is_caught(log: DataFrame) -> None:
    split = user_time(log)
    leaked = leaked_counts(people(log), split)
    known = {r.item_id: r.people for r in people(known_before_test(split)).collect()}
    whole = {r.item_id: r.people for r in people(log).collect()}
    assert {(r.item_id, r.claimed, r.known) for r in leaked.collect()} == {
        (item, n, known.get(item, 0)) for item, n in whole.items() if n > known.get(item, 0)
    }
    with pytest.raises(LeakFound, match="counts"):
        refuse_leaks("popularity", counts=leaked)


def test_learned_factors_of_cold_items_are_caught(log: DataFrame) -> None:
    split = cold_items(log, share=0.2, seed=1)
    found = {r.item_id for r in leaked_factors(log.select("item_id"), split).collect()}
    assert found == {r.item_id for r in split.where("part = 'test'").collect()} and len(found) == 4
    with pytest.raises(LeakFound, match="4 factors"):
        refuse_leaks("als", factors=leaked_factors(log.select("item_id"), split))
