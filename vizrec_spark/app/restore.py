"""Takes back what a run has published: shows what would change, and with ``--yes`` does it as a run of its own."""

from __future__ import annotations

import argparse
import secrets
import sys
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table as RichTable

from vizrec_spark.app.runner import add_arguments, context_for, guarded, run_with, wide
from vizrec_spark.config import Config, load_config
from vizrec_spark.errors import ConfigError
from vizrec_spark.stage import Stage, StageContext, StageResult, log
from vizrec_spark.tables.journal import Restored, abandon, begin, begun, carry_out, finish, recorded
from vizrec_spark.tables.rollback import Plan, plan_restore

NAME = "restore"
SUMMARY = "take back what a run has published"


def add_restore_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The run, ``--stage``, ``--with-later``, ``--yes``, ``--resume``, ``--abandon``, and what every job takes."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("asked", nargs="?", metavar="RUN", help="the run that is to be taken back, by its id")
    what.add_argument("--resume", action="store_true", help="finish a restore that was cut off")
    what.add_argument(
        "--abandon",
        action="store_true",
        help="give up a restore that was cut off, and put back what it has changed",
    )
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
        if args.asked is None:
            log.info("restore: none was cut off, there is nothing to finish")
            return
        run_id, plan = look.stamp.run_id, plan_restore(look, args.asked, args.stage, args.with_later)
    else:
        run_id, plan = unfinished
        if args.asked not in (None, plan.asked):
            raise ConfigError(
                f"Restore {run_id} of run {plan.asked} was begun and is not finished: let it end, or finish it with "
                "`vizrec restore --resume --yes`, before another."
            )
        on = "giving up" if args.abandon else "going on with"
        log.info("restore: %s %s, which was begun and is not finished", on, run_id)
    if not plan.steps:
        log.info("restore: nothing changes: no table holds anything that run %s wrote", plan.asked)
        return
    show(plan, wide(sys.stdout))
    if not args.yes:
        log.info("restore: nothing was changed; --yes does it")
    elif args.abandon:
        context = context_for(config, NAME, run_id)
        for written in abandon(context.tables, context.spark, plan):
            log.info("restore: put back %s, %s rows", written.table, f"{written.rows:,}")
        log.info("restore: %s is given up, runs may start again", run_id)
    else:
        _carry_out(config, plan, run_id, console, fresh=unfinished is None)


def _carry_out(config: Config, plan: Plan, run_id: str, console: Console, fresh: bool) -> None:
    def run(context: StageContext) -> StageResult:
        if fresh:
            begin(context.tables, context.spark, plan)
        done = carry_out(context.tables, context.spark, plan)
        written, figures = [one.written for one in done], {"tables": float(len(done))}
        return StageResult(written, _notes(plan, done), figures, takes_back=plan.takes_back)

    context = context_for(config, NAME, run_id)
    if fresh or not recorded(context.tables):
        try:
            run_with([Stage(NAME, SUMMARY, run)], config, run_id, console)
        except Exception:
            if context.tables.restore_under_way() == run_id:
                log.warning(
                    "restore: %s is not finished, and no run starts before it is: `vizrec restore --resume --yes` "
                    "goes on, `vizrec restore --abandon --yes` gives it up",
                    run_id,
                )
            raise
    finish(context.tables, context.spark, plan)


def _notes(plan: Plan, done: list[Restored]) -> list[str]:
    notes = [f"took back {stage} of run {run_id}" for run_id, stage in plan.takes_back]
    for one in done:
        for who in one.overruled:
            notes.append(f"{who} wrote to {one.written.table} meanwhile; that went too: run it again")
    return notes


def show(plan: Plan, console: Console) -> None:
    """The plan as a table: versions and rows before and after, and the commits that are undone."""
    shown = RichTable("table", "version", "rows", "takes back", title="Restore", title_justify="left")
    for step in plan.steps:
        undone = [
            f"{datetime.fromtimestamp(c.at / 1000, UTC):%Y-%m-%d %H:%M:%S} {c.author}" for c in step.undone
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


def _made_up() -> str:
    return f"restore-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
