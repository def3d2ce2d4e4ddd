"""Stage `stream` on a small shop: what happens to each event, exactly once, and what the users are offered then."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from tests.landing import ingest, put
from tests.streaming import WEIGHTS, LiveShop, agree, event, fitted, in_batch, offered
from vizrec_spark.errors import ConfigError, InputError, TableError
from vizrec_spark.recommend.assemble import Settings
from vizrec_spark.recommend.blend import Blend
from vizrec_spark.recommend.sources import NAMES
from vizrec_spark.recommend.weights import blend_of, weight_rows
from vizrec_spark.stage import StageResult
from vizrec_spark.stream import batch, resident, source
from vizrec_spark.stream.commits import Commits
from vizrec_spark.stream.resident import Latest
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.schemas import (
    INTERACTIONS,
    LIVE_EVENTS,
    LIVE_RECOMMENDATIONS,
    QUARANTINE,
    USERS,
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


def listed(store: TableStore) -> set[str]:
    return {row.user_id for row in store.read(LIVE_RECOMMENDATIONS).select("user_id").collect()}


def test_lists_are_those_of_a_batch_on_the_same_events(
    shop: LiveShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "_USERS", 2)  # the first micro-batch has three users: two parts
    shop.send("a", event(1, "u01", "i03"), event(2, "stranger", "i07", "buy"), event(3, "u02", "i08", "cart"))
    shop.send("b", event(4, "u01", "i11"), event(5, "stranger", "i30"))
    done = shop.stream("stream.max_bytes_per_batch=1")
    store, users = shop.store(), ["stranger", "u01", "u02"]
    table = store.read(LIVE_RECOMMENDATIONS)
    assert done.metrics["batches"] == 2 and done.metrics["lists"] == 5
    operations = [one["operation"] for one in store.commits(LIVE_RECOMMENDATIONS)]
    assert operations.count("MERGE") == 3
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
    moment = (known.timestamp + timedelta(seconds=0.4)).isoformat() + "Z"  # the log has whole seconds
    logged = event(10, "u04", known.item_id, known.event, timestamp=moment)
    nameless = {k: v for k, v in event(11, "u05", "i06").items() if k != "event_id"}
    shop.send("a", event(1, "u01", "i03"), event(1, "u01", "i03"), late, logged, nameless)
    both = json.dumps(event(35, "u01", "i04")) + json.dumps(event(36, "u01", "i04"))  # on one line
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
        both,
        json.dumps(event(37, "Ren\udce9", "i04"), ensure_ascii=False),
    )
    done = shop.stream("stream.max_bytes_per_batch=1")
    store = shop.store()
    assert len(ids(store)) == 5 and {"e1", "e9", "e10", "e30"} < set(ids(store))
    refused = store.read(QUARANTINE).where("stage = 'stream'").collect()
    assert sorted(row.reason for row in refused) == sorted(
        [
            "bad_encoding",
            "bad_timestamp",
            "malformed_record",
            "malformed_record",
            "malformed_record",
            "missing_key",
            "reused_id",
            "unknown_event",
        ]
    )
    assert {row.record for row in refused if row.reason == "malformed_record"} == {
        '{"event_id": "e34", "user_id":',
        "[1]",
        both,
    }
    assert done.metrics["events_new"] == 5 and done.metrics["events_refused"] == 8
    assert done.metrics["events_repeated"] == 1  # e20; what has its id and its text again is left out before
    assert done.metrics["events_left_out"] == 2 and done.metrics["events_late"] == 0
    assert done.metrics["events_strange"] == 1  # e30, which waits for the catalogue
    lists = offered(store.read(LIVE_RECOMMENDATIONS))
    others = lists.query("user_id != 'u04'").reset_index(drop=True)
    agree(others, in_batch(shop, ["u01", "u03", "u05"]))
    # The log had it already: the pair weighs no more than before.
    assert store.read(LIVE_EVENTS).where("user_id = 'u04'").count() == 1
    alone = in_batch(shop, ["u04"], store.read(INTERACTIONS))
    agree(lists.query("user_id == 'u04'").reset_index(drop=True), alone)


def test_an_event_counts_by_that_record_of_it_whose_id_is_its_own(shop: LiveShop) -> None:
    """Of two records of one event the first has the id of another event: of one before, of one of its micro-batch."""
    shop.send("a", event(1, "u01", "i03"))
    used, own = event(1, "u02", "i04"), event(9, "u02", "i04", timestamp=event(1, "", "")["timestamp"])
    assert json.dumps(used) < json.dumps(own)
    shop.send("b", used, own)
    taken, used = event(50, "u03", "i05"), event(50, "u04", "i06")
    own = event(51, "u04", "i06", timestamp=used["timestamp"])
    assert json.dumps(taken) < json.dumps(used) < json.dumps(own)
    shop.send("c", taken, used, own)
    done = shop.stream("stream.max_bytes_per_batch=1")
    store = shop.store()
    assert set(ids(store)) == {"e1", "e9", "e50", "e51"}
    refused = store.read(QUARANTINE).where("stage = 'stream'").collect()
    assert [row.reason for row in refused] == ["reused_id"] * 2
    assert done.metrics["events_new"] == 4 and done.metrics["events_refused"] == 2


@pytest.mark.parametrize("direct_bytes", [0, 1 << 20])
def test_a_restart_goes_on_and_a_replay_changes_nothing(shop: LiveShop, direct_bytes: int) -> None:
    """Whether Spark writes, or the job by itself."""
    shop.settings = [f"stream.direct_bytes={direct_bytes}"]
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


def broken(name: str, monkeypatch: pytest.MonkeyPatch, run: Callable[[], Any], after: int = 0) -> None:
    """Runs the job, which dies where it would make the commits of this name, `after` so many of them."""
    real, calls = getattr(Commits, name), itertools.count()

    def dies(*told: Any) -> Any:
        if next(calls) < after:
            return real(*told)
        raise RuntimeError("died here")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="died here"):
        patch.setattr(Commits, name, dies)
        run()


def test_a_batch_that_comes_again_with_other_contents_loses_nothing(
    shop: LiveShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "_USERS", 2)
    store, checkpoint = shop.store(), shop.folder / "checkpoint"
    other = 'ingest.interactions.events={"view": 1.0, "stare": 1.0}'  # other rules at the restart
    shop.send("a", event(1, "u01", "i03"), event(2, "u02", "i04", "cart"), event(3, "u03", "i04", "stare"))
    broken("events", monkeypatch, shop.stream)
    shop.stream(other)
    assert ids(store) == ["e1", "e3"]
    refused = {row.key for row in store.read(QUARANTINE).where("stage = 'stream'").collect()}
    assert refused == {"u03 i04", "u02 i04"}  # refused at first, and refused now
    shutil.copytree(checkpoint, shop.folder / "older")
    # Kept, but with the lists of its first part only, one of three; what was accepted stays accepted.
    more = [event(n, f"u{n:02d}", "i05", "cart") for n in (4, 7, 8, 9, 10)]
    shop.send("b", *more)
    broken("_upsert", monkeypatch, shop.stream, after=1)
    assert len(listed(store) & {one["user_id"] for one in more}) == 2
    shop.stream(other)
    kept = ["e1", "e10", "e3", "e4", "e7", "e8", "e9"]
    assert ids(store) == kept
    assert store.read(QUARANTINE).where("stage = 'stream'").count() == 2
    assert listed(store) == {"u01", "u03", "u04", "u07", "u08", "u09", "u10"}
    # An older checkpoint: the number of batch b now stands for other events.
    shutil.rmtree(checkpoint)
    shutil.copytree(shop.folder / "older", checkpoint)
    shop.send("c", event(5, "u05", "i06"), event(6, "u06", "i06", "stare"))
    broken("lists", monkeypatch, shop.stream)
    shop.stream()
    assert ids(store) == sorted([*kept, "e5"])
    assert store.read(QUARANTINE).where("stage = 'stream'").count() == 3
    assert "u05" in listed(store)


def test_many_small_files_of_refusals_are_put_together(
    shop: LiveShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vizrec_spark.stream.commits._COMPACT_EVERY", 2)
    for name in "abc":  # behind the third micro-batch, for the second puts lists together
        shop.send(name, event(ord(name), "u01", "i03", "stare"))
    shop.stream("stream.max_bytes_per_batch=1")
    operations = [one["operation"] for one in shop.store().commits(QUARANTINE)]
    assert operations.count("WRITE") == 3 and operations.count("OPTIMIZE") == 1
    assert shop.store().read(QUARANTINE).where("stage = 'stream'").count() == 3


def test_ingest_takes_over_what_the_log_does_not_have(shop: LiveShop, spark: SparkSession) -> None:
    fitted(shop)  # on the log as it is
    before = shop.store().read(INTERACTIONS).toPandas()
    logged = before.iloc[0]
    sent = [
        event(1, "u01", "i03", timestamp="2024-02-01T10:00:00.250000Z"),
        event(2, "stranger", "i07", "buy"),
        event(3, "u02", "not-yet"),
        event(
            4, logged.user_id, logged.item_id, logged.event, timestamp=f"{logged.timestamp.isoformat()}.5Z"
        ),
    ]
    shop.send("a", *sent)
    shop.stream()
    live = shop.store().read(LIVE_EVENTS).orderBy("event_id").toPandas()
    for name in ("event_id", "user_id", "item_id", "event"):
        assert live[name].tolist() == [one[name] for one in sent]
    assert live.weight.tolist() == [WEIGHTS[one["event"]] for one in sent] and live.rating.isna().all()
    told = [pd.Timestamp(one["timestamp"]).tz_convert("UTC").tz_localize(None) for one in sent]
    assert live.timestamp.tolist() == told

    def run(catalogue: list[str], landed: list[dict[str, Any]], tables: str) -> pd.DataFrame:
        rows = [(r.user_id, r.item_id, r.event, r.timestamp) for r in before.itertuples()]
        rows += [(e["user_id"], e["item_id"], e["event"], pd.Timestamp(e["timestamp"])) for e in landed]
        lines = {f"{user},{item},{kind},{int(at.timestamp())}" for user, item, kind, at in rows}
        put(
            shop.folder / "landing",
            "items.csv",
            "\n".join(["item_id,title", *(f"{i},{i}" for i in catalogue)]),
        )
        text = "\n".join(["user_id,item_id,event,timestamp", *sorted(lines)])
        put(shop.folder / "landing", "events.csv", text)
        done = ingest(spark, shop.folder, ["ingest.catalogue.columns.image=null"], tables)
        found = done.tables.read(INTERACTIONS).toPandas()
        assert set(done.tables.read(USERS).toPandas().user_id) == set(found.user_id)
        found["timestamp"] = found.timestamp.dt.floor("s")
        return found.sort_values(["user_id", "item_id", "event", "timestamp"], ignore_index=True)

    items = [f"i{n:02d}" for n in range(40)]
    taken = run(items, [], "tables")
    assert len(taken) == len(before) + 2 and "not-yet" not in set(taken.item_id)
    # Some have landed, and the catalogue has got the item: each is there once.
    some = run([*items, "not-yet"], sent[1:2], "tables")
    assert len(some) == len(before) + 3
    # What a batch alone makes of a log that has them all is the same, and so are the lists.
    alone = run([*items, "not-yet"], sent, "other")
    pd.testing.assert_frame_equal(some, alone)
    log = TableStore(spark, shop.config(f"tables.root={shop.folder / 'other'}").tables, shop.store().stamp)
    users = sorted({one["user_id"] for one in sent})
    lists = offered(shop.store().read(LIVE_RECOMMENDATIONS))
    agree(lists, in_batch(shop, users, log.read(INTERACTIONS)))


class Running:
    """A job that runs while a thread acts, and is told to stop when that has ended."""

    def __init__(self, shop: LiveShop) -> None:
        self._shop, self._over, self._numbers = shop, threading.Event(), itertools.count(100)

    def stream(self, act: Callable[[Running], None], *more: str) -> StageResult:
        """What the job has done by its end."""
        trouble = []

        def acts() -> None:
            try:
                act(self)
            except BaseException as error:
                trouble.append(error)
            finally:
                while not self._over.wait(1.0):  # the first may come before the job listens
                    os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=acts)
        # A signal before the job listens, or after, is not to end the tests.
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        thread.start()
        try:
            done = self._shop.stream("stream.available_now=false", *more)
        finally:
            self._over.set()
            thread.join()
            signal.signal(signal.SIGTERM, before)
        assert not trouble
        return done

    def row(self, user: str) -> Any:
        """The user's row of `live_recommendations`."""
        tables = self._shop.store()
        if not tables.exists(LIVE_RECOMMENDATIONS):  # the job has only begun
            return None
        return tables.read(LIVE_RECOMMENDATIONS).where(f"user_id = '{user}'").first()

    def made_by(self, user: str) -> tuple[str | None, str | None] | None:
        """The model and the encoder of the user's list."""
        row = self.row(user)
        return None if row is None else (row.model_id, row.encoder_id)

    def until(self, come: Callable[[], bool]) -> None:
        last = time.monotonic() + 300
        while not come() and not self._over.is_set():
            assert time.monotonic() < last, "what was waited for has not come"
            time.sleep(0.3)

    def acts_until(self, user: str, come: Callable[[], bool]) -> None:
        """The user goes on acting, for new models are looked for with each micro-batch."""

        def again() -> bool:
            number = next(self._numbers)
            self._shop.send(f"z{number:04d}", event(number, user, "i03"))
            return come()

        self.until(again)


def test_a_running_job_takes_a_new_model_up_and_ends_when_told(
    shop: LiveShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    last, whole = threading.Event(), Commits.lists

    def slow(commits: Commits, *of: Any) -> int:
        written = whole(commits, *of)
        if last.is_set():
            last.clear()
            time.sleep(4.0)  # told to stop meanwhile
        return written

    monkeypatch.setattr(Commits, "lists", slow)

    def shoppers(job: Running) -> None:
        shop.send("a", event(1, "u01", "i03"))
        job.until(lambda: job.made_by("u01") == ("als-1", "enc-1"))
        shop.model("als-2", seed=9)  # a batch run that has not come to its end
        shop.send("b", event(2, "u02", "i03"))
        job.until(lambda: job.made_by("u02") is not None)
        shop.weights()
        job.acts_until("u03", lambda: job.made_by("u03") == ("als-2", "enc-1"))
        last.set()
        job.acts_until("u03", lambda: not last.is_set())

    job = Running(shop)
    done = job.stream(shoppers)
    found = [job.made_by(user) for user in ("u01", "u02", "u03")]
    assert found == [("als-1", "enc-1"), ("als-1", "enc-1"), ("als-2", "enc-1")]
    assert done.metrics["fits"] == 2
    lists = shop.store().read(LIVE_RECOMMENDATIONS).where("user_id = 'u03'")
    agree(offered(lists), in_batch(shop, ["u03"]))
    # Told in the middle of a micro-batch, it ended behind it: a restart has not to do it again.
    [row] = shop.store().read(LIVE_RECOMMENDATIONS).agg(F.max("batch").alias("batch")).collect()
    assert (shop.folder / "checkpoint" / "commits" / str(row.batch)).exists()


def test_a_running_job_takes_a_promotion_up_and_another_encoder(
    shop: LiveShop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.settings = ["recommend.model=promoted"]
    shop.promote(1, "als-1")

    def shoppers(job: Running) -> None:
        shop.send("a", event(1, "u01", "i03"))
        job.until(lambda: job.made_by("u01") == ("als-1", "enc-1"))
        shop.model("als-2", seed=9)
        shop.weights()  # a batch run to its end: the model in service is still the one of before
        job.acts_until("u02", lambda: fits() == 2 and job.row("u02") is not None)
        before = job.row("u02").batch
        job.acts_until("u02", lambda: job.row("u02").batch > before + 1)
        shop.promote(2, "als-2")
        job.acts_until("u03", lambda: job.made_by("u03") == ("als-2", "enc-1"))
        shop.encode("enc-2")
        shop.weights()
        job.acts_until("u04", lambda: job.made_by("u04") == ("als-2", "enc-2"))

    def fits() -> int:
        return caplog.text.count("stream: fitted")

    job = Running(shop)
    with caplog.at_level("INFO", "vizrec"):
        done = job.stream(shoppers)
    found = [job.made_by(user) for user in ("u01", "u02", "u03", "u04")]
    assert found == [("als-1", "enc-1"), ("als-1", "enc-1"), ("als-2", "enc-1"), ("als-2", "enc-2")]
    assert done.metrics["fits"] == 4
    lists = shop.store().read(LIVE_RECOMMENDATIONS).where("user_id = 'u04'")
    agree(offered(lists), in_batch(shop, ["u04"]))


def test_a_model_that_is_being_taken_up_is_given_up_at_the_end(
    shop: LiveShop, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fit may take minutes; SIGTERM is not to wait for it."""
    fit = SimpleNamespace(hybrid=SimpleNamespace(side=[]), model_id=None, encoder_id=None)
    monkeypatch.setattr(resident, "load_resident", lambda _: fit)
    latest = Latest(shop.context(), 0.0, lambda _: None)

    def slow(_: object) -> None:
        with suppress(Exception):  # it was cancelled, and its next job is to be too
            spark.sparkContext.parallelize([40.0], 1).foreach(time.sleep)
        spark.sparkContext.parallelize([40.0], 1).foreach(time.sleep)

    monkeypatch.setattr(resident, "load_resident", slow)
    shop.weights()
    latest.look()
    coming, last = latest._coming, time.monotonic() + 60
    assert coming is not None
    while not spark.sparkContext.statusTracker().getJobIdsForGroup(latest._jobs):
        assert time.monotonic() < last
        time.sleep(0.05)
    [fit_thread] = [one for one in threading.enumerate() if one.name == "vizrec-fit"]
    assert fit_thread.daemon
    began = time.monotonic()
    latest.close()
    assert "cancelled" in str(coming.exception(20.0))
    assert time.monotonic() - began < 20


def test_ids_are_forgotten_and_what_comes_too_late_ends_the_job(
    shop: LiveShop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # The clock of arrival is that of the events: the third micro-batch comes an hour after the first two.
    monkeypatch.setattr(source.F, "current_timestamp", lambda: F.to_timestamp("timestamp"))
    shop.send("a", event(1, "u01", "i03"), event(2, "u01", "i04"))
    shop.send("b", event(3, "u01", "i05"))
    shop.send("c", event(3_600, "u02", "i03"))
    shop.send("d", event(3_601, "u02", "i04"))
    shop.send("e", event(4, "u03", "i03"))  # the clock went back
    with caplog.at_level("INFO", "vizrec"), pytest.raises(InputError, match="1 events were left out because"):
        shop.stream("stream.max_bytes_per_batch=1")
    found = re.findall(r"batch \d+: (\d+) ids are remembered", caplog.text)
    assert found[:4] == ["2", "3", "4", "2"]
    assert ids(shop.store()) == ["e1", "e2", "e3", "e3600", "e3601"]


def test_other_sources_are_read_and_what_cannot_be_read_is_named(shop: LiveShop) -> None:
    # Ages that only the whole log tells.
    shop.settings = ["als.half_life_days=2.0", "als.outlier_fence=0.5"]
    store, tables = shop.store(), shop.folder / "tables"
    kafka = ["stream.source=kafka", "stream.servers=localhost:1", "stream.topic=t"]
    with pytest.raises(ConfigError, match="spark-sql-kafka"):
        shop.stream(*kafka)
    # All that the log has once more, from a table without ids: each counts once.
    log = store.read(INTERACTIONS)
    delta = ["stream.source=delta", f"stream.path={tables / 'interactions'}", "stream.columns.event_id=null"]
    assert shop.stream(*delta).metrics["events_new"] == log.count() == store.read(LIVE_EVENTS).count()
    users = sorted(row.user_id for row in log.select("user_id").distinct().collect())
    agree(offered(store.read(LIVE_RECOMMENDATIONS)), in_batch(shop, users, log))
    rows = [event(1, "u01", "i03", rating=2.5), event(2, "u02", "i04", "buy", rating=None)]
    frame = pd.DataFrame(rows).assign(timestamp=lambda told: pd.to_datetime(told.timestamp).dt.as_unit("ns"))
    frame.to_parquet(shop.events / "a.parquet")  # in nanoseconds, as pandas writes them
    parquet = ["stream.format=parquet", "stream.columns.rating=rating"]
    with pytest.raises(InputError, match="is that of another source"):
        shop.stream(*parquet)
    parquet.append(f"stream.checkpoint={shop.folder / 'another'}")
    assert shop.stream(*parquet).metrics["events_new"] == 2
    found = store.read(LIVE_EVENTS).where("event_id IN ('e1', 'e2')").orderBy("event_id").collect()
    assert [(row.rating, row.weight, row.timestamp.second) for row in found] == [
        (2.5, 0.0, 1),
        (None, 5.0, 2),
    ]


def test_the_blend_comes_back_as_it_was_written(spark: SparkSession) -> None:
    n = len(NAMES)
    weights, lo = np.linspace(0.0, 1.0, n), np.where(np.arange(n) % 2, np.nan, -0.5)
    blend = Blend("learned", Settings(8.0, 100.0), weights, np.linspace(0.5, 2.0, n), lo, lo + 1.0, share=0.7)
    found = blend_of(weight_rows(spark, blend).collect())
    assert (found.method, found.settings, found.share) == (blend.method, blend.settings, blend.share)
    for name in ("weights", "scale", "lo", "hi"):
        np.testing.assert_array_equal(getattr(found, name), getattr(blend, name))


def test_without_a_batch_run_it_says_what_to_run(spark: SparkSession, tmp_path: Path) -> None:
    shop = LiveShop(spark, tmp_path)
    with pytest.raises(TableError, match="run stage `recommend` first"):
        shop.stream()
