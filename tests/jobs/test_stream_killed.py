"""The real job, killed under load and started again: no event is lost, none counts twice, lists are a batch's."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from tests.jobs.conftest import SHORT_LIVED
from tests.streaming import WEIGHTS, LiveShop, agree, event, in_batch, offered
from vizrec_spark.session import UNSUMMED_FILES
from vizrec_spark.tables.schemas import INTERACTIONS, LIVE_EVENTS, LIVE_RECOMMENDATIONS, QUARANTINE

JOB = Path(__file__).resolve().parents[2] / "jobs" / "stream.py"
CONF = {
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.ui.enabled": "false",
    **UNSUMMED_FILES,
}


class Load:
    """Sends events, some twice and some that are refused, until it is told to stop."""

    def __init__(self, shop: LiveShop) -> None:
        self._shop, self._stop = shop, threading.Event()
        self._random = random.Random(5)
        self.sent: dict[str, tuple[Any, ...]] = {}
        self.refused = 0
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(0.1):
            told = []
            for _ in range(5):
                number += 1
                user, item = self._random.randrange(25), self._random.randrange(40)
                one = event(
                    number, f"u{user:02d}", f"i{item:02d}", self._random.choice(["view", "cart", "buy"])
                )
                told += [one] * self._random.choice([1, 1, 2])
                at = datetime.fromisoformat(one["timestamp"]).astimezone().replace(tzinfo=None)
                kind = one["event"]
                key = (one["user_id"], one["item_id"], kind)
                self.sent[one["event_id"]] = (*key, None, WEIGHTS[kind], at)
            # With the id of one that is accepted, and when a batch is done again still none of its.
            told.append(event(number, "u01", "i01", timestamp="yesterday"))
            self.refused += 1
            self._shop.send(f"f{number:06d}", *told)

    @contextmanager
    def sending(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()


def newer(shop: LiveShop, table: str, pattern: str) -> Callable[[], bool]:
    """Whether the table has got another file since."""
    place = shop.folder / "tables" / table
    before = max(len(list(place.glob(pattern))), 1)  # a table that is not there is created first
    return lambda: len(list(place.glob(pattern))) > before


def kill(
    shop: LiveShop, log: Path, moment: Callable[[LiveShop], Callable[[], bool]], after: float = 0.0
) -> None:
    """Starts the job and kills all its processes: some time after the `moment`, which is of its first new batch."""
    pairs = [
        *shop.overrides(),
        "stream.available_now=false",
        "spark.master=local[2]",
        "spark.conf=" + str(CONF).replace("'", '"'),
    ]
    command = [sys.executable, str(JOB), *(part for pair in pairs for part in ("--set", pair))]
    with log.open("ab") as out:
        job = subprocess.Popen(
            command, stdout=out, stderr=out, start_new_session=True, env={**os.environ, **SHORT_LIVED}
        )
        come = moment(shop)
        until = time.monotonic() + 240
        try:
            while not come():
                assert job.poll() is None and time.monotonic() < until, log.read_text(encoding="utf-8")[
                    -3000:
                ]
                time.sleep(0.002)
            time.sleep(after)
            assert job.poll() is None, log.read_text(encoding="utf-8")[-3000:]
        finally:
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()


def check(shop: LiveShop, load: Load) -> None:
    """Lets a last run finish, and compares with a batch on what was sent."""
    shop.stream()
    store = shop.store()
    rows = store.read(LIVE_EVENTS).select("event_id", *INTERACTIONS.columns).collect()
    assert len(rows) == len(load.sent) and {row[0]: tuple(row[1:]) for row in rows} == load.sent
    assert store.read(QUARANTINE).where("stage = 'stream'").count() == load.refused
    lists = store.read(LIVE_RECOMMENDATIONS)
    users = sorted(row.user_id for row in lists.select("user_id").collect())
    assert len(users) == 25
    # Of the log and of what was sent, whatever table `live_events` says.
    log = store.read(INTERACTIONS)
    sent = shop.spark.createDataFrame([*load.sent.values()], INTERACTIONS.schema)
    agree(offered(lists), in_batch(shop, users, log.unionByName(sent)))


def test_killed_between_its_commits_it_goes_on(spark: SparkSession, tmp_path: Path) -> None:
    shop, log = LiveShop(spark, tmp_path / "shop"), tmp_path / "job.log"
    shop.make()
    load = Load(shop)
    with load.sending():
        # Events kept, lists not yet.
        kill(shop, log, lambda shop: newer(shop, "live_events", "_delta_log/*.json"))
    kept, listed = (
        {row.batch for row in shop.store().read(table).select("batch").distinct().collect()}
        for table in (LIVE_EVENTS, LIVE_RECOMMENDATIONS)
    )
    assert kept > listed
    check(shop, load)


@pytest.mark.faults
def test_killed_at_ten_random_moments_it_goes_on(spark: SparkSession, tmp_path: Path) -> None:
    shop, log = LiveShop(spark, tmp_path / "shop"), tmp_path / "job.log"
    shop.make()
    load = Load(shop)
    moments = random.Random(11)
    with load.sending():
        # While the lists of a batch are being written; then whenever: also while it starts, or does again what it had
        # not ended.
        kill(shop, log, lambda shop: newer(shop, "live_recommendations", "*.parquet"))
        for _ in range(6):
            kill(shop, log, lambda shop: newer(shop, "live_events", "*.parquet"), moments.uniform(0.0, 6.0))
        for _ in range(3):
            kill(shop, log, lambda shop: lambda: True, moments.uniform(1.0, 60.0))
    check(shop, load)
