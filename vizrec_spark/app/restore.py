"""Takes back what a run has published: shows what changes, asks, and restores."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table as RichTable

from vizrec_spark.app.runner import add_arguments, guarded, tables_for, wide
from vizrec_spark.config import load_config
from vizrec_spark.errors import ConfigError
from vizrec_spark.stage import log
from vizrec_spark.tables.restore import Change, plan_restore, restore


def add_restore_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The table, how far back, ``--yes`` and ``--dry-run``, and what every job takes."""
    parser.add_argument(
        "table", metavar="TABLE", help="the table; those that belong together go back with it"
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--before-run", metavar="ID", help="as it was before this run wrote it")
    how.add_argument("--to-run", metavar="ID", help="as this run left it")
    how.add_argument(
        "--to-version", metavar="N", type=_version, help="as it was at this version of Delta's history"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask: for scripts")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    return add_arguments(parser)


def run_restore(args: argparse.Namespace) -> int:
    """Plans, shows, asks, restores; the exit code."""

    def body(_: Console) -> None:
        run_id = args.run_id or f"restore-{secrets.token_hex(3)}"
        tables = tables_for(load_config(args.config, args.overrides), "restore", run_id)
        changes = plan_restore(
            tables,
            args.table,
            to_version=args.to_version,
            to_run=args.to_run,
            before_run=args.before_run,
        )
        if not changes:
            log.info("restore: %s stands as wanted, nothing changes", args.table)
            return
        show(changes, wide(sys.stdout))
        if args.dry_run:
            return
        if not args.yes and not _agreed():
            raise ConfigError("Nothing was restored: answer yes, or give --yes where nobody can be asked.")
        for written in restore(tables, changes):
            log.info(
                "restore: %s has %s rows, version %s", written.table, f"{written.rows:,}", written.version
            )

    return guarded(body, args)


def show(changes: Sequence[Change], console: Console) -> None:
    """The plan as a table: rows before and after, and the commits that are undone."""
    shown = RichTable("table", "version", "rows", "takes back", title="Restore", title_justify="left")
    for change in changes:
        undone = [f"{at:%Y-%m-%d %H:%M:%S} {stage} of {run}" for _, at, run, stage in change.undone]
        shown.add_row(
            change.table.name,
            f"{change.now} → {change.then}",
            f"{change.rows_now:,} → {change.rows_then:,}",
            "\n".join(undone),
        )
    console.print(shown)


def _agreed() -> bool:
    return sys.stdin.isatty() and input("Restore these tables? [yes/no] ").strip().lower() == "yes"


def _version(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a version, 0 or more, got {text!r}")
    return int(text)
