"""Runs stages: configuration, session, stamp, progress, summary."""

from __future__ import annotations

import argparse
import logging
import re
import secrets
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TextIO

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.logger import PySparkLogger
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from vizrec_spark.app.logs import FORMATS, about, forget, handler, redacted
from vizrec_spark.app.progress import progress
from vizrec_spark.app.record import record_run
from vizrec_spark.app.spark_errors import of_the_system, understood
from vizrec_spark.config import Config, load_config
from vizrec_spark.errors import CandidateHeld, ConfigError, TableError, VizrecError
from vizrec_spark.session import build_session, submitted
from vizrec_spark.stage import Stage, StageContext, StageResult, log
from vizrec_spark.tables import Stamp, TableStore

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

_ERRORS_OF_SQL = ("DataFrameQueryContextLogger", "SQLQueryContextLogger")
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,127}")


@dataclass(frozen=True)
class Finished:
    """A stage that ran to its end."""

    stage: Stage
    result: StageResult
    seconds: float


def add_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The arguments that every job takes: ``--config``, ``--set``, ``--run-id``, ``--quiet``, ``--log-format``."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="YAML file with what differs from base.yml, which is read from beside it",
    )
    add_overrides(parser)
    parser.add_argument(
        "--run-id", metavar="ID", help="name of this run in the tables' history (default: made up)"
    )
    parser.add_argument(
        "--log-format",
        choices=FORMATS,
        default=FORMATS[0],
        help="json: one object a line on stderr, with run id and stage (default: %(default)s)",
    )
    return parser


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """``--set`` and ``--quiet``, also for commands that have a configuration of their own."""
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="SECTION.KEY=VALUE",
        action="append",
        default=[],
        help="set one key; may be given several times and wins over the files",
    )
    parser.add_argument("--quiet", action="store_true", help="print warnings and errors only")


def positive(text: str) -> int:
    """A command-line argument that must be a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def run_stages(stages: Sequence[Stage], args: argparse.Namespace) -> int:
    """Runs `stages` in order with the arguments of `add_arguments`; the exit code."""
    return guarded(
        lambda console: run_with(stages, load_config(args.config, args.overrides), args.run_id, console), args
    )


def guarded(body: Callable[[Console], None], args: argparse.Namespace) -> int:
    """Runs `body(console)`; the exit code. Our own errors and files that cannot be used become one message.

    An error that was not expected is told with its traceback, without secrets, and ends with 1.
    """
    as_json = getattr(args, "log_format", FORMATS[0]) == "json"
    # A terminal's live line would stand between the objects.
    console = Console(
        stderr=True, quiet=bool(getattr(args, "quiet", False)), force_terminal=False if as_json else None
    )
    with logged_to(console, as_json):
        try:
            return _code_of(body, console, as_json)
        except Exception:
            if as_json:
                log.critical("an error that was not expected", exc_info=True, extra={"exit_code": 1})
            else:
                shown = redacted(traceback.format_exc())
                Console(stderr=True).print(shown, markup=False, highlight=False, soft_wrap=True)
            return 1
        finally:
            forget()


def _code_of(body: Callable[[Console], None], console: Console, as_json: bool) -> int:
    try:
        body(console)
    except VizrecError as error:
        return _told(str(error), error.exit_code, as_json)
    except (PySparkException, Py4JJavaError) as error:
        ours = understood(error)
        if ours is None:
            raise
        log.debug("where it happened", exc_info=error)
        return _told(str(ours), ours.exit_code, as_json)
    except OSError as error:
        ours = of_the_system(error)
        if ours is None:
            raise
        log.debug("where it happened", exc_info=error)
        return _told(str(ours), ours.exit_code, as_json)
    except KeyboardInterrupt:
        return _told(
            "Interrupted. Tables hold their last whole version; run again to go on.", INTERRUPTED, as_json
        )
    return 0


def _told(message: str, exit_code: int, as_json: bool) -> int:
    if as_json:
        log.error("%s", message, extra={"exit_code": exit_code})
    else:
        shown = f"[bold red]Error:[/] {escape(redacted(message))}"
        Console(stderr=True).print(shown, highlight=False, soft_wrap=True)
    return exit_code


@contextmanager
def logged_to(console: Console, as_json: bool = False) -> Iterator[None]:
    """While the body runs, our log goes to `console`, or where the caller has sent it; other packages only warn."""
    ours = None if log.handlers else handler(console, as_json)
    level, propagates = log.level, log.propagate
    # PySpark prints each error in SQL as JSON on stderr, also those that become one of ours; it is told by us.
    of_spark = [PySparkLogger.getLogger(name) for name in _ERRORS_OF_SQL]
    disabled = [one.disabled for one in of_spark]
    for one in of_spark:
        one.disabled = True
    log.setLevel(logging.WARNING if console.quiet else logging.INFO)
    if ours is not None:
        log.addHandler(ours)
        log.propagate = False
    try:
        yield
    finally:
        for one, before in zip(of_spark, disabled, strict=True):
            one.disabled = before
        log.setLevel(level)
        if ours is not None:
            log.removeHandler(ours)
            log.propagate = propagates


def context_for(
    config: Config, stage: str, run_id: str, *, brief: bool = False, conf: Mapping[str, str] | None = None
) -> StageContext:
    """What the stage of this name is handed in this process, which is over soon where it is `brief`; `conf`: Spark
    settings under those of the configuration."""
    spark = build_session(f"vizrec {stage}", {**(conf or {}), **session_conf(config)}, brief=brief)
    stamp = Stamp(run_id, stage, config.fingerprint())
    return StageContext(spark, config, TableStore(spark, config.tables, stamp), run_id)


def read_only_tables(config: Config, *, brief: bool = False) -> TableStore:
    """The tables, for a look-up that writes nothing, after which this process is over where it is `brief`."""
    spark = build_session("vizrec look-up", session_conf(config), brief=brief)
    return TableStore(spark, config.tables, Stamp("", "look-up", ""))


def session_conf(config: Config) -> dict[str, str]:
    """Spark settings from the configuration; a master only where none was given by spark-submit."""
    master = {} if config.spark.master is None or submitted() else {"spark.master": config.spark.master}
    return {**config.spark.conf, **master}


def run_with(stages: Sequence[Stage], config: Config, run_id: str | None, console: Console) -> None:
    """Runs `stages` in order and prints the summary on stdout; a missing run id is made up."""
    run_id = run_id or f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    if _RUN_ID.fullmatch(run_id) is None:
        raise ConfigError(f"--run-id {run_id!r}: expected up to 128 letters, digits and any of _ . : + -")
    finished: list[Finished] = []
    with about(run_id=run_id):
        log.info("run %s, configuration %s", run_id, config.fingerprint())
        for stage in stages:
            if stage.check is not None:
                stage.check(config)
        brief = all(stage.brief for stage in stages)
        conf = stages[0].conf if len(stages) == 1 else {}
        for stage in stages:
            with about(stage=stage.name):
                finished.append(_finished(stage, config, run_id, console, brief, conf))
    print_summary(finished, run_id, wide(sys.stdout))


def _finished(
    stage: Stage, config: Config, run_id: str, console: Console, brief: bool, conf: Mapping[str, str]
) -> Finished:
    """Runs one stage and writes its record."""
    began = time.monotonic()
    context = context_for(config, stage.name, run_id, brief=brief, conf=conf)
    context.tables.refuse_during_restore()
    log.info("%s: %s", stage.name, stage.summary)
    with progress(context.spark, stage.name, console) if not console.quiet else nullcontext():
        try:
            result = stage.run(context)
        except VizrecError as error:
            if isinstance(error.done, StageResult):  # it came to its end all the same
                told = replace(error.done, notes=[*error.done.notes, str(error)])
                _record_ended(context, told, time.monotonic() - began, error)
            raise
    done = Finished(stage, result, time.monotonic() - began)
    record_run(context, result, done.seconds)
    for note in result.notes:
        log.info("%s: %s", stage.name, note)
    log.info("%s: done in %.1f s", stage.name, done.seconds)
    return done


def _record_ended(context: StageContext, told: StageResult, seconds: float, error: VizrecError) -> None:
    """The record of a stage that came to its end and raised `error`."""
    if isinstance(error, CandidateHeld):
        record_run(context, told, seconds, "held")
        return
    for note in told.notes[:-1]:  # the last is the error, which is told by itself
        log.info("%s: %s", context.tables.stamp.stage, note)
    try:
        record_run(context, told, seconds, partial=True)
    except TableError as unwritten:  # as while tables are being restored; the first error says more
        log.warning("%s: no record of what was done: %s", context.tables.stamp.stage, unwritten)


def wide(stream: TextIO) -> Console:
    """The terminal as it is; a file or a pipe wide enough that no path is broken."""
    console = Console(file=stream)
    return console if console.is_terminal else Console(file=stream, width=max(console.width, 160))


def print_summary(finished: Sequence[Finished], run_id: str, console: Console) -> None:
    """What was written: table, rows, rows changed, seconds, where."""
    table = RichTable(title=f"Run {run_id}", title_justify="left", title_style="bold")
    for name in ("stage", "table", "rows", "changed", "seconds", "where"):
        table.add_column(
            name, justify="right" if name in ("rows", "changed", "seconds") else "left", overflow="fold"
        )
    for done in finished:
        seconds = f"{done.seconds:.1f}"
        for i, written in enumerate(done.result.written):
            table.add_row(
                done.stage.name if i == 0 else "",
                written.table,
                f"{written.rows:,}",
                f"{written.changed:,}",
                seconds if i == 0 else "",
                escape(redacted(written.location)),
            )
        if not done.result.written:
            table.add_row(done.stage.name, "(nothing to write)", "", "", seconds, "")
    console.print(table)
    total = sum(done.seconds for done in finished)
    console.print(f"{len(finished)} {'stage' if len(finished) == 1 else 'stages'} in {total:.0f} s.")
