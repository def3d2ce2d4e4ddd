"""Job `maintain` at the command line: upkeep, or with ``--dry-run`` what it would do."""

from __future__ import annotations

import argparse

from vizrec_spark.app.logs import redacted
from vizrec_spark.app.runner import add_arguments, context_for, guarded, run_stages
from vizrec_spark.config import load_config
from vizrec_spark.maintain.stage import STAGE, check, plans, told


def add_maintain_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """``--dry-run``, and what every job takes."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print what would be done and each file that would go; do nothing",
    )
    return add_arguments(parser)


def run_maintain(args: argparse.Namespace) -> int:
    """Looks after the tables, or says what it would do; the exit code."""
    return guarded(lambda _: _dry_run(args), args) if args.dry_run else run_stages([STAGE], args)


def _dry_run(args: argparse.Namespace) -> None:
    config = load_config(args.config, args.overrides)
    check(config)
    for plan in plans(context_for(config, STAGE.name, args.run_id or "dry-run")):
        print(redacted(told(plan)))
        for file in sorted(plan.doomed):
            print(redacted(f"  {file}"))
