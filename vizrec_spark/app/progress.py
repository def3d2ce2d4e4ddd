"""Shows how far a stage is: a live line on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession
from rich.console import Console

from vizrec_spark.stage import log

_POLL_SECONDS = 0.5
_LOG_SECONDS = 20.0


@contextmanager
def progress(spark: SparkSession, name: str, console: Console) -> Iterator[None]:
    """While the body runs, tells the Spark tasks done and under way."""
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(spark, name, console, stop), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _watch(spark: SparkSession, name: str, console: Console, stop: threading.Event) -> None:
    began = told = time.monotonic()
    if not console.is_terminal:
        while not stop.wait(_POLL_SECONDS):
            now = time.monotonic()
            if now - told >= _LOG_SECONDS:
                told = now
                log.info("%s: %s, %.0f s so far", name, _tasks(spark), now - began)
        return
    with console.status(f"{name}: starting") as status:
        while not stop.wait(_POLL_SECONDS):
            status.update(f"[bold]{name}[/]: {_tasks(spark)}, {time.monotonic() - began:.0f} s")


def _tasks(spark: SparkSession) -> str:
    """Tasks of the Spark jobs that run now, in words."""
    tracker = spark.sparkContext.statusTracker()
    done = total = 0
    for stage_id in tracker.getActiveStageIds():
        info = tracker.getStageInfo(stage_id)
        if info is not None:
            done, total = done + info.numCompletedTasks, total + info.numTasks
    return f"{done} of {total} tasks done" if total else "planning"
