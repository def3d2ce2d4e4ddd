"""What is known of users is the same, whether the driver or Spark holds it, and however it has come together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from tests.streaming import LiveShop
from vizrec_spark.stream.histories import Histories
from vizrec_spark.stream.pairs import Rows
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.schemas import LIVE_EVENTS

START = datetime(2024, 3, 1, tzinfo=UTC)
LOGGED = 20 * 9  # events of the shop's log


@pytest.fixture(scope="module")
def store(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> TableStore:
    shop = LiveShop(spark, tmp_path_factory.mktemp("histories"))
    shop.make()
    store = shop.store()
    store.append(LIVE_EVENTS, spark.createDataFrame(live(0, 30), LIVE_EVENTS.schema))
    return store


def live(first: int, end: int) -> pa.Table:
    """Live events of a few users, each with its number as its second."""
    rows = [
        {
            "event_id": f"e{n}",
            "user_id": f"u{n % 7:02d}",
            "item_id": f"i{n % 11:02d}",
            "event": "view",
            "rating": None,
            "weight": 1.0,
            "timestamp": START + timedelta(seconds=n),
            "arrived_at": START,
            "query_id": "q",
            "batch": n,
        }
        for n in range(first, end)
    ]
    return pa.Table.from_pylist(rows, schema=to_arrow_schema(LIVE_EVENTS.schema, timezone="UTC"))


def same(one: Rows, other: Rows) -> None:
    for a, b in zip(one[:-1], other[:-1], strict=True):
        np.testing.assert_array_equal(a, b)
    assert [names.to_pylist() for names in one.names] == [names.to_pylist() for names in other.names]


@pytest.mark.parametrize(
    "in_memory", [0, 40, 10**6], ids=["by Spark", "as long as there is room", "in memory"]
)
def test_what_is_known_does_not_depend_on_where_it_is_held(
    spark: SparkSession, store: TableStore, in_memory: int
) -> None:
    most = in_memory and LOGGED + in_memory
    grown = Histories(spark, store, most, 4, 3600.0, 1.0)
    grown.refresh()
    users, nothing = pa.array(["u01", "u06", "nobody"]), live(0, 0)
    # Three tails, of which the last is still one: the first two have joined what is held, or made it be read anew.
    for first in (100, 106, 112):
        more = live(first, first + 6)
        known, reused = grown.known(more)
        assert not np.asarray(known).any() and not np.asarray(reused).any()
        store.append(LIVE_EVENTS, spark.createDataFrame(more, LIVE_EVENTS.schema))
        grown.appended(more)
        if first < 112:
            grown.refresh()
    anew = Histories(spark, store, 0, 10**6, 3600.0, 1.0)
    anew.refresh()
    try:
        same(grown.of(users, nothing), anew.of(users, nothing))
        new = live(200, 210)
        told = grown.of(users, new.filter(pc.is_in(new["user_id"], value_set=users)))
        n_new = sum(f"u{n % 7:02d}" in ("u01", "u06") for n in range(200, 210))
        assert len(told.time) == len(grown.of(users, nothing).time) + n_new
        # Known by user, item, type and time; the id of another; new.
        asked = pa.concat_tables([live(3, 5), live(107, 108), live(115, 116), live(300, 303)])
        ids = pa.array(["else", "e4", "e107", "e115", "e2", "e117", "e302"])
        asked = asked.set_column(0, "event_id", ids)
        for held in (grown, anew):
            known, reused = held.known(asked)
            assert np.asarray(known).tolist() == [True, True, True, True, False, False, False]
            assert np.asarray(reused).tolist() == [False, False, False, False, True, True, False]
    finally:
        grown.close()
        anew.close()
        store.delete(LIVE_EVENTS, F.col("batch") >= 100)


def test_it_does_not_lean_for_long_on_files_that_are_out_of_use(
    spark: SparkSession, store: TableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Spark holds it may have to read again; the stream itself frees the disk once a day."""
    clock = [1000.0]
    monkeypatch.setattr("vizrec_spark.stream.histories.time.monotonic", lambda: clock[0])
    histories = Histories(spark, store, 0, 10**6, 3600.0, 1.0)
    histories.refresh()
    first = histories._held
    clock[0] += 11 * 3600.0
    histories.refresh()
    assert histories._held is first
    clock[0] += 2 * 3600.0
    histories.refresh()
    assert histories._held is not first
    histories.close()
