"""jobs/stream.py under spark-submit, reading from a real Kafka broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.jobs.conftest import SHORT_LIVED
from tests.kafka import broker
from tests.streaming import LiveShop, agree, event, in_batch, offered
from vizrec_spark.config import setting
from vizrec_spark.session import DELTA_PACKAGE
from vizrec_spark.stream.source import KAFKA_PACKAGE
from vizrec_spark.tables.schemas import LIVE_EVENTS, LIVE_RECOMMENDATIONS, QUARANTINE

JOB = Path(__file__).resolve().parents[2] / "jobs" / "stream.py"


def test_events_of_a_topic(spark: SparkSession, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    shop = LiveShop(spark, tmp_path / "shop")
    shop.make()
    assert pytestconfig.cache is not None
    (tmp_path / "kafka").mkdir()
    with broker(pytestconfig.cache.mkdir("kafka"), tmp_path / "kafka") as kafka:
        sent = [event(n, f"u{n % 7:02d}", f"i{n % 30:02d}") for n in range(60)]
        kafka.send("events", [*map(json.dumps, sent), json.dumps(sent[3]), "no JSON"])
        pairs = {
            "stream.source": "kafka",
            "stream.servers": "127.0.0.1:1",  # where nobody listens
            "stream.topic": "events",
            "stream.max_per_batch": 40,
            "stream.secret_options": {"kafka.bootstrap.servers": "VIZREC_TEST_SECRET"},
        }
        settings = [*shop.overrides(), *(setting(key, value) for key, value in pairs.items())]
        command = [str(Path(sys.executable).with_name("spark-submit")), "--master", "local[2]"]
        command += ["--packages", f"{DELTA_PACKAGE},{KAFKA_PACKAGE}", str(JOB)]
        command += [part for pair in settings for part in ("--set", pair)]
        environment = {**os.environ, **SHORT_LIVED, "VIZREC_TEST_SECRET": kafka.servers}
        done = subprocess.run(command, capture_output=True, text=True, timeout=400, env=environment)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told[-3000:]
    assert (
        " stream: 2 micro-batches: 61 events = 60 new + 0 known already + 1 quarantined; 1 more came again"
        in told
    )
    # The secret is in no log and no table.
    assert kafka.servers not in told
    tables = (shop.folder / "tables").rglob("*")
    assert not any(kafka.servers.encode() in file.read_bytes() for file in tables if file.is_file())
    store = shop.store()
    ids = sorted(row.event_id for row in store.read(LIVE_EVENTS).collect())
    assert ids == sorted(one["event_id"] for one in sent)
    [refused] = store.read(QUARANTINE).where("stage = 'stream'").collect()
    assert (refused.reason, refused.record) == ("malformed_record", "no JSON")
    agree(offered(store.read(LIVE_RECOMMENDATIONS)), in_batch(shop, [f"u{n:02d}" for n in range(7)]))
