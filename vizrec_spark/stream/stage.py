"""Wires job `stream`: starts the query, runs until it is told to stop, and says what was done."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from pyspark.sql import SparkSession
from pyspark.sql.streaming import StreamingQuery

from vizrec_spark.config.models import StreamConfig
from vizrec_spark.stage import Stage, StageContext, StageResult, log
from vizrec_spark.stream.batch import MicroBatch, Totals
from vizrec_spark.stream.histories import Histories
from vizrec_spark.stream.lists import warm_up
from vizrec_spark.stream.resident import Latest
from vizrec_spark.stream.source import live_events
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.schemas import LIVE_EVENTS, LIVE_RECOMMENDATIONS

_POLL_S = 0.3
_SESSION = {
    # Plans are small and many: to plan them anew behind every shuffle costs more than it gives.
    "spark.sql.adaptive.enabled": "false",
    # Tables that get a commit every second or so, when this session makes them.
    "spark.databricks.delta.properties.defaults.checkpointInterval": "50",
    # A micro-batch may have hundreds of small files: to list each in a task of its own costs seconds.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",
    # A micro-batch without events would only tidy the state, which the next one does as well.
    "spark.sql.streaming.noDataMicroBatches.enabled": "false",
    # What a MERGE is handed lies in the driver's memory: to keep a copy for its second pass would cost a job.
    "spark.databricks.delta.merge.materializeSource": "none",
}


def run(context: StageContext) -> StageResult:
    """Reads live events until SIGTERM or SIGINT, or with `stream.available_now` until all are read.

    Raises: TableError when stage `recommend` has not run yet; ConfigError and InputError for a source that cannot be
    read; what a micro-batch raised.
    """
    config = context.config.stream
    # Settings of its own, which nobody who shares this process sees.
    spark = context.spark.newSession()
    for key, value in _SESSION.items():
        spark.conf.set(key, value)
    tables = TableStore(spark, context.config.tables, context.tables.stamp)
    own = replace(context, spark=spark, tables=tables)
    for table in (LIVE_EVENTS, LIVE_RECOMMENDATIONS):
        tables.ensure(table)
    latest = Latest(own, config.reload_seconds, partial(warm_up, config=context.config.recommend))
    histories = Histories(spark, tables, config.tail, config.reload_seconds)
    try:
        with ThreadPoolExecutor(spark.sparkContext.defaultParallelism) as threads:
            work = MicroBatch(spark, tables, context.config, latest, histories, threads)
            histories.refresh()
            with _told_to_stop() as stop:
                query = start(spark, config, work)
                _wait(query, stop, config, work)
                held = _state_rows(query)
    finally:
        histories.close()
        latest.close()
    totals = work.totals
    written = [
        replace(tables.unchanged(LIVE_EVENTS), changed=totals.new),
        replace(tables.unchanged(LIVE_RECOMMENDATIONS), changed=totals.lists),
    ]
    return StageResult(written, [_note(totals)], {**_metrics(totals), "state_rows": held})


STAGE = Stage("stream", "live events in, live recommendations out, until it is told to stop", run)


def start(spark: SparkSession, config: StreamConfig, work: MicroBatch) -> StreamingQuery:
    """Starts the query, which goes on from `config.checkpoint`."""
    writer = (
        live_events(spark, config)
        .writeStream.foreachBatch(work)
        .option("checkpointLocation", config.checkpoint)
    )
    if config.available_now:
        return writer.trigger(availableNow=True).start()
    return writer.trigger(processingTime=f"{round(config.trigger_seconds * 1000)} milliseconds").start()


def _wait(query: StreamingQuery, stop: threading.Event, config: StreamConfig, work: MicroBatch) -> None:
    log.info("stream: reading; Ctrl-C or SIGTERM ends it between two micro-batches")
    try:
        while query.isActive and not stop.wait(_POLL_S):
            pass
        until = time.monotonic() + config.grace_s
        while query.isActive and query.status["isTriggerActive"] and time.monotonic() < until:
            time.sleep(0.02)
    finally:
        query.stop()
    failed = work.failure or query.exception()
    if failed is not None and not stop.is_set():
        raise failed


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set while the body runs, where it runs in the main thread."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda *_: stop.set())
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _state_rows(query: StreamingQuery) -> float:
    """Event ids that are remembered."""
    last = query.lastProgress
    return 0.0 if last is None else float(sum(one.numRowsTotal for one in last.stateOperators))


def _note(totals: Totals) -> str:
    return (
        f"{totals.batches:,} micro-batches: {totals.came:,} events = {totals.new:,} new + {totals.repeated:,} known "
        f"already + {totals.refused:,} quarantined; {totals.lists:,} lists"
    )


def _metrics(totals: Totals) -> dict[str, float]:
    return {
        "batches": float(totals.batches),
        "events_new": float(totals.new),
        "events_repeated": float(totals.repeated),
        "events_refused": float(totals.refused),
        "lists": float(totals.lists),
    }
