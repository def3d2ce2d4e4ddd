"""Wires job `stream`: starts the query, runs until it is told to stop, and says what was done."""

from __future__ import annotations

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.streaming import StreamingQuery

from vizrec_spark.config.models import StreamConfig
from vizrec_spark.errors import InputError
from vizrec_spark.session import SMALL_PLANS, own_session
from vizrec_spark.stage import Stage, StageContext, StageResult, log
from vizrec_spark.stopping import Told, told_to_stop
from vizrec_spark.stream.batch import MicroBatch, Totals
from vizrec_spark.stream.histories import Histories
from vizrec_spark.stream.lists import warm_up
from vizrec_spark.stream.progress import Watch
from vizrec_spark.stream.resident import Latest
from vizrec_spark.stream.source import live_events
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.schemas import LIVE_EVENTS, LIVE_RECOMMENDATIONS

_POLL_S = 0.3
_COUNTED_S = 5.0  # for Spark to tell of the last micro-batch
_MOST_PARTITIONS = 8  # a micro-batch has some hundred rows, and each partition a state of its own
# As the sources for files, Delta tables and Kafka refuse the offsets of another source, or of another table.
_OTHER_OFFSETS = re.compile(
    r"No usable value for logOffset|DELTA_INVALID_SOURCE_|DIFFERENT_DELTA_TABLE_READ|Expected e\.g\. \{\"topic"
)
_SESSION = {
    **SMALL_PLANS,
    # What a compaction has made is not written again with every later one.
    "spark.databricks.delta.optimize.minFileSize": str(16 << 20),
    # A micro-batch may have hundreds of small files: to list each in a task of its own costs seconds.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",
    # A micro-batch without events would only tidy the state, which the next one does as well.
    "spark.sql.streaming.noDataMicroBatches.enabled": "false",
    # What a MERGE is handed lies in the driver's memory: to keep a copy for its second pass would cost a job.
    "spark.databricks.delta.merge.materializeSource": "none",
}


def run(context: StageContext) -> StageResult:
    """Reads live events until SIGTERM, SIGINT or SIGHUP, or with `stream.available_now` until all are read.

    Raises: TableError when stage `recommend` has not run yet; ConfigError and InputError for a source that cannot be
    read or a checkpoint of another one; what a micro-batch raised; what else Spark says, as it is.
    """
    # From the first: who tells it while a model is fitted is heard when that is done.
    with told_to_stop() as stop:
        return _read(context, stop)


def _read(context: StageContext, stop: Told) -> StageResult:
    config = context.config.stream
    spark = own_session(context.spark, _SESSION, _MOST_PARTITIONS)
    tables = TableStore(spark, context.config.tables, context.tables.stamp)
    for table in (LIVE_EVENTS, LIVE_RECOMMENDATIONS):
        tables.ensure(table)
    latest = Latest(context, config.reload_seconds, partial(warm_up, config=context.config.recommend))
    histories = Histories(
        spark, tables, config.in_memory, config.tail, config.reload_seconds, config.same_within_s
    )
    watch = Watch()
    spark.streams.addListener(watch)
    try:
        # The threads work on this machine, whatever the cluster has; two more wait for commits.
        with ThreadPoolExecutor((os.cpu_count() or 2) + 2) as threads:
            work = MicroBatch(spark, tables, context.config, latest, histories, threads)
            histories.refresh()
            query = start(spark, config, work)
            _wait(query, stop, config, work, watch)
    finally:
        spark.streams.removeListener(watch)
        histories.close()
        latest.close()
    totals = work.totals
    written = [
        replace(tables.unchanged(LIVE_EVENTS), changed=totals.new),
        replace(tables.unchanged(LIVE_RECOMMENDATIONS), changed=totals.lists),
    ]
    return StageResult(written, [_note(totals, watch)], _metrics(totals, watch, latest.loads))


STAGE = Stage(
    "stream",
    "live events in, live recommendations out, until it is told to stop",
    run,
    # Spark holds its last thousand jobs, stages and plans for the pages of its UI: of a job that has made thousands of
    # them those are some hundred megabytes.
    conf={
        "spark.ui.retainedJobs": "50",
        "spark.ui.retainedStages": "50",
        "spark.ui.retainedTasks": "500",
        "spark.sql.ui.retainedExecutions": "50",
    },
)


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


def _wait(query: StreamingQuery, stop: Told, config: StreamConfig, work: MicroBatch, watch: Watch) -> None:
    log.info("stream: reading; Ctrl-C or SIGTERM ends it between two micro-batches")
    try:
        while query.isActive and not stop.wait(_POLL_S) and not watch.late:
            pass
        # Under load there is hardly a moment between two micro-batches: once another number is through, the one that
        # was under way is.
        until, before = time.monotonic() + config.grace_s, _finished(query)
        while query.isActive and query.status["isTriggerActive"] and time.monotonic() < until:
            if _finished(query) != before:
                break
            time.sleep(0.02)
        failed = query.exception()
    finally:
        query.stop()
    watch.wait(_COUNTED_S)
    if work.failure is not None and failed is not None:
        raise work.failure
    if failed is not None:
        raise _told(failed, config)
    if watch.late:
        raise InputError(
            f"stream: {watch.late} events were left out because this machine's clock went back by more than "
            "`stream.remember_minutes`. Set the clock right and remove the checkpoint: the source is read again, and "
            "what is known already is found in the tables."
        )


def _told(failed: PySparkException, config: StreamConfig) -> Exception:
    """One of ours where Spark says that the checkpoint has another kind of offsets; else what it says, as it is."""
    text = " ".join(str(failed).split())
    if _OTHER_OFFSETS.search(text) is None:
        return failed
    return InputError(
        f"stream: `stream.checkpoint` = {config.checkpoint} is that of another source than `stream.source` = "
        f"{config.source} now names: {text[:600]}"
    )


def _finished(query: StreamingQuery) -> int:
    last = query.lastProgress
    return -1 if last is None else int(last.batchId)


def _note(totals: Totals, watch: Watch) -> str:
    return (
        f"{totals.batches:,} micro-batches: {totals.came:,} events = {totals.new:,} new + {totals.repeated:,} known "
        f"already + {totals.refused:,} quarantined; {watch.again:,} more came again and were left out; "
        f"{totals.strange:,} of the new are on items that the catalogue does not have; {totals.lists:,} lists"
    )


def _metrics(totals: Totals, watch: Watch, fits: int) -> dict[str, float]:
    return {
        "batches": float(totals.batches),
        "events_new": float(totals.new),
        "events_repeated": float(totals.repeated),
        "events_left_out": float(watch.again),
        "events_late": float(watch.late),
        "events_refused": float(totals.refused),
        "events_strange": float(totals.strange),
        "lists": float(totals.lists),
        "state_rows": float(watch.held),
        "fits": float(fits),
    }
