"""Stage `stream` on a small shop: what happens to each event, exactly once, and what the users are offered then."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from tests.streaming import LiveShop, agree, event, in_batch, offered
from vizrec_spark.errors import TableError
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.schemas import (
    INTERACTIONS,
    LIVE_EVENTS,
    LIVE_RECOMMENDATIONS,
    QUARANTINE,
)


@pytest.fixture(scope="module")
def finished(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> LiveShop:
    """A batch run; not to be written to."""
    shop = LiveShop(spark, tmp_path_factory.mktemp("live"))
    shop.make()
    return shop


@pytest.fixture
def shop(finished: LiveShop, spark: SparkSession, tmp_path: Path) -> LiveShop:
    """A copy of it."""
    shutil.copytree(finished.folder, tmp_path / "shop")
    return LiveShop(spark, tmp_path / "shop")


def ids(store: TableStore) -> list[str]:
    return sorted(row.event_id for row in store.read(LIVE_EVENTS).select("event_id").collect())


def test_lists_are_those_of_a_batch_on_the_same_events(shop: LiveShop) -> None:
    shop.send("a", event(1, "u01", "i03"), event(2, "stranger", "i07", "buy"), event(3, "u02", "i08", "cart"))
    shop.send("b", event(4, "u01", "i11"), event(5, "stranger", "i30"))
    done = shop.stream("stream.max_per_batch=1")
    store, users = shop.store(), ["stranger", "u01", "u02"]
    table = store.read(LIVE_RECOMMENDATIONS)
    assert done.metrics["batches"] == 2
    assert sorted(row.user_id for row in table.collect()) == users
    agree(offered(table), in_batch(shop, users))
    rows: dict[str, Any] = {row.user_id: row for row in table.collect()}
    assert rows["u01"].latest[:2] == ["i11", "i03"] and rows["stranger"].latest == ["i30", "i07"]
    assert rows["u01"].model_id == "als-1" and rows["u01"].encoder_id == "enc-1"
    assert (rows["u01"].batch, rows["u02"].batch) == (1, 0)
    assert not {"i03", "i11"} & {o.item_id for o in rows["u01"].offers}


def test_each_event_counts_once_however_often_late_and_broken_it_comes(shop: LiveShop) -> None:
    late = event(9, "u03", "i05", timestamp="2020-05-01T00:00:00Z")
    [known] = shop.store().read(INTERACTIONS).where("user_id = 'u04'").orderBy("timestamp").limit(1).collect()
    logged = event(10, "u04", known.item_id, known.event, timestamp=known.timestamp.isoformat() + "Z")
    nameless = {k: v for k, v in event(11, "u05", "i06").items() if k != "event_id"}
    shop.send("a", event(1, "u01", "i03"), event(1, "u01", "i03"), late, logged, nameless)
    # Again: with its id, with another id, without one; then what nobody can use.
    shop.send(
        "b",
        event(1, "u01", "i04"),
        event(20, "u01", "i03", timestamp=event(1, "", "")["timestamp"]),
        nameless,
        event(30, "u01", "nothing-like-it"),
        event(31, "u01", "i04", "stare"),
        event(32, "u01", "i04", timestamp="yesterday"),
        event(33, "", "i04"),
        '{"event_id": "e34", "user_id":',
        "[1]",
    )
    done = shop.stream("stream.max_per_batch=1")
    store = shop.store()
    assert len(ids(store)) == 4 and {"e1", "e9", "e10"} < set(ids(store))
    refused = store.read(QUARANTINE).where("stage = 'stream'").collect()
    assert sorted(row.reason for row in refused) == sorted(
        [
            "bad_timestamp",
            "malformed_record",
            "malformed_record",
            "missing_key",
            "unknown_event",
            "unknown_item",
        ]
    )
    assert {row.record for row in refused if row.reason == "malformed_record"} == {
        '{"event_id": "e34", "user_id":',
        "[1]",
    }
    assert done.metrics["events_new"] == 4 and done.metrics["events_refused"] == 6
    assert done.metrics["events_repeated"] == 1  # e20; what has its id again is left out before
    agree(offered(store.read(LIVE_RECOMMENDATIONS)).query("user_id != 'u04'").reset_index(drop=True),
          in_batch(shop, ["u01", "u03", "u05"]))  # fmt: skip
    # The log had it already: the pair weighs no more than before.
    assert store.read(LIVE_EVENTS).where("user_id = 'u04'").count() == 1


def test_a_restart_goes_on_and_a_replay_changes_nothing(shop: LiveShop) -> None:
    store = shop.store()
    shop.send("a", event(1, "u01", "i03"))
    shop.stream()
    shop.send("b", event(2, "u01", "i04"), event(3, "u02", "i04"))
    shop.stream()
    assert ids(store) == ["e1", "e2", "e3"]
    lists, events = (store.read(t).toPandas() for t in (LIVE_RECOMMENDATIONS, LIVE_EVENTS))
    # As if the job had died when all was written and nothing noted: batch 1 comes again.
    (shop.folder / "checkpoint" / "commits" / "1").unlink()
    (shop.folder / "checkpoint" / "commits" / ".1.crc").unlink(missing_ok=True)
    version = store.version(LIVE_RECOMMENDATIONS)
    done = shop.stream()
    assert done.metrics["events_new"] == 0 and done.metrics["batches"] == 1
    assert store.version(LIVE_RECOMMENDATIONS) == version and store.read(LIVE_EVENTS).count() == 3
    pd.testing.assert_frame_equal(store.read(LIVE_RECOMMENDATIONS).toPandas(), lists)
    # And without the checkpoint the whole source comes again: no event is counted twice.
    shutil.rmtree(shop.folder / "checkpoint")
    assert shop.stream().metrics["events_new"] == 0
    found = store.read(LIVE_EVENTS).orderBy("event_id").toPandas()
    pd.testing.assert_frame_equal(found, events.sort_values("event_id", ignore_index=True))
    agree(offered(store.read(LIVE_RECOMMENDATIONS)), in_batch(shop, ["u01", "u02"]))


def test_a_new_model_is_picked_up_between_two_micro_batches(shop: LiveShop) -> None:
    shop.send("a", event(1, "u01", "i03"))
    shop.stream()
    shop.model("als-2", seed=9)
    shop.weights()
    shop.send("b", event(2, "u02", "i03"))
    shop.stream()
    rows = {row.user_id: row for row in shop.store().read(LIVE_RECOMMENDATIONS).collect()}
    assert (rows["u01"].model_id, rows["u02"].model_id) == ("als-1", "als-2")
    agree(offered(shop.store().read(LIVE_RECOMMENDATIONS).where("user_id = 'u02'")), in_batch(shop, ["u02"]))


def test_without_a_batch_run_it_says_what_to_run(spark: SparkSession, tmp_path: Path) -> None:
    shop = LiveShop(spark, tmp_path)
    with pytest.raises(TableError, match="run stage `recommend` first"):
        shop.stream()
