"""Takes back what a run has published: shows what would change, and with ``--yes`` does it as a run of its own."""

from __future__ import annotations

import argparse
import secrets
import sys
from datetime import UTC, datetime

from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table as RichTable

from vizrec_spark.app.runner import add_arguments, context_for, guarded, run_with, wide
from vizrec_spark.config import Config, load_config
from vizrec_spark.errors import ConfigError
from vizrec_spark.stage import Stage, StageContext, StageResult, log
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.history import Commit
from vizrec_spark.tables.journal import Restored, begin, begun, carry_out, finish
from vizrec_spark.tables.rollback import Plan, plan_restore
from vizrec_spark.tables.schemas import RUNS

NAME = "restore"
SUMMARY = "take back what a run has published"


def add_restore_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The run, ``--stage``, ``--with-later``, ``--yes``, ``--resume``, and what every job takes."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("asked", nargs="?", metavar="RUN", help="the run that is to be taken back, by its id")
    what.add_argument("--resume", action="store_true", help="finish a restore that was cut off")
    parser.add_argument(
        "--stage",
        action="append",
        default=[],
        metavar="STAGE",
        help="take back only what this stage of the run wrote; may be given several times",
    )
    parser.add_argument(
        "--with-later", action="store_true", help="also take back younger runs that wrote to the same tables"
    )
    parser.add_argument("--yes", action="store_true", help="do it; without, only show what would be done")
    return add_arguments(parser)


def run_restore(args: argparse.Namespace) -> int:
    """Shows the plan, and carries it out if told to; the exit code."""
    return guarded(lambda console: _restore(args, load_config(args.config, args.overrides), console), args)


def _restore(args: argparse.Namespace, config: Config, console: Console) -> None:
    look = context_for(config, NAME, args.run_id or _made_up()).tables
    unfinished = begun(look)
    if unfinished is None:
        if args.resume:
            log.info("restore: none was cut off, there is nothing to finish")
            return
        run_id, plan = look.stamp.run_id, plan_restore(look, args.asked, args.stage, args.with_later)
    else:
        run_id, plan = unfinished
        if not args.resume and args.asked != plan.asked:
            raise ConfigError(
                f"Restore {run_id} of run {plan.asked} was begun and is not finished: let it end, or finish it with "
                "`vizrec restore --resume --yes`, before another."
            )
        log.info("restore: going on with %s, which was begun and is not finished", run_id)
    if not plan.steps:
        log.info("restore: nothing that run %s wrote is in effect, nothing changes", plan.asked)
        return
    show(plan, wide(sys.stdout))
    if not args.yes:
        log.info("restore: nothing was changed; --yes does it")
        return
    _carry_out(config, plan, run_id, console, fresh=unfinished is None)


def _carry_out(config: Config, plan: Plan, run_id: str, console: Console, fresh: bool) -> None:
    def run(context: StageContext) -> StageResult:
        if fresh:
            begin(context.tables, context.spark, plan)
        done = carry_out(context.tables, context.spark, plan)
        return StageResult([one.written for one in done], _notes(plan, done), takes_back=plan.takes_back)

    context = context_for(config, NAME, run_id)
    if not _recorded(context.tables, run_id):
        run_with([Stage(NAME, SUMMARY, run)], config, run_id, console)
    finish(context.tables, context.spark, plan)


def _notes(plan: Plan, done: list[Restored]) -> list[str]:
    notes = [f"took back {stage} of run {run_id}" for run_id, stage in plan.takes_back]
    for one in done:
        for run_id in one.overruled:
            notes.append(f"run {run_id} wrote to {one.written.table} meanwhile; that went too: run it again")
    return notes


def _recorded(tables: TableStore, run_id: str) -> bool:
    """Whether the restore came to its record before it was cut off."""
    mine = (F.col("run_id") == run_id) & (F.col("stage") == NAME)
    return not tables.read_or_empty(RUNS).where(mine).isEmpty()


def show(plan: Plan, console: Console) -> None:
    """The plan as a table: versions and rows before and after, and the commits that are undone."""
    shown = RichTable("table", "version", "rows", "takes back", title="Restore", title_justify="left")
    for step in plan.steps:
        undone = [
            f"{datetime.fromtimestamp(c.at / 1000, UTC):%Y-%m-%d %H:%M:%S} {_author(c)}" for c in step.undone
        ]
        shown.add_row(
            step.table.name,
            f"{step.now} → {step.then}",
            f"{step.rows_now:,} → {step.rows_then:,}",
            "\n".join(undone),
        )
    console.print(shown)
    for run_id, stage in plan.read_since:
        console.print(
            f"{stage} of run {run_id} ran since, perhaps on what is taken back: it stays as it is.",
            markup=False,
        )


def _author(commit: Commit) -> str:
    return f"{commit.stage} of {commit.run_id}" if commit.run_id else f"{commit.operation} by hand"


def _made_up() -> str:
    return f"restore-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
