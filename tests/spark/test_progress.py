"""How far a stage is: a live line on a terminal, a line of the log now and then elsewhere."""

from __future__ import annotations

import logging
import re
import threading
import time
from io import StringIO

import pytest
from pyspark.sql import SparkSession
from rich.console import Console

from vizrec_spark.app import progress as module
from vizrec_spark.app.progress import progress

TASKS = 8


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.05)
    monkeypatch.setattr(module, "_LOG_SECONDS", 0.3)


def slow_job(spark: SparkSession) -> None:
    """Some seconds in which one task after another is done."""
    spark.sparkContext.parallelize(range(TASKS), TASKS).foreach(lambda _: time.sleep(0.5))


def watched() -> bool:
    """Whether a thread still looks how far a stage is."""
    return any("_watch" in thread.name for thread in threading.enumerate())


def counts(text: str) -> list[int]:
    """The numbers of tasks done that were told, in order."""
    return [int(n) for n in re.findall(rf"(\d+) of {TASKS} tasks done", text)]


def test_on_a_terminal_a_line_counts_the_tasks_and_then_goes(spark: SparkSession) -> None:
    stream = StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    with progress(spark, "embed", console):
        time.sleep(0.2)  # in which Spark has no task
        assert watched()
        slow_job(spark)
    shown = stream.getvalue()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "embed: planning, 0 s" in plain
    seen = counts(plain)
    assert seen == sorted(seen) and len(set(seen)) >= 3 and seen[-1] <= TASKS
    assert re.search(rf"embed: \d of {TASKS} tasks done, \d s", plain)
    # The line is wiped, the cursor is shown again, and nobody watches any more.
    assert shown.rindex("\x1b[?25h") > shown.rindex("tasks done") and "\x1b[2K" in shown
    assert not watched()


def test_without_a_terminal_the_log_tells_now_and_then(
    spark: SparkSession, caplog: pytest.LogCaptureFixture
) -> None:
    stream = StringIO()
    with caplog.at_level(logging.INFO, "vizrec"), progress(spark, "als", Console(file=stream)):
        slow_job(spark)
    lines = [record.getMessage() for record in caplog.records]
    assert stream.getvalue() == "" and 2 <= len(lines) <= 40
    assert all(
        re.fullmatch(rf"als: (planning|\d of {TASKS} tasks done), \d+ s so far", line) for line in lines
    )
    seen = counts("\n".join(lines))
    assert seen == sorted(seen) and len(set(seen)) >= 2


def test_a_stage_that_fails_is_watched_no_longer(spark: SparkSession) -> None:
    stream = StringIO()
    with (
        pytest.raises(ZeroDivisionError),
        progress(spark, "als", Console(file=stream, force_terminal=True)),
    ):
        raise ZeroDivisionError
    assert not watched() and stream.getvalue().count("\x1b[?25h") == 1
