"""Shows the encoders whose vectors are in the tables, and removes those that are not configured."""

from __future__ import annotations

import argparse
import json
import secrets
import sys

from rich.console import Console
from rich.table import Table as RichTable

from vizrec_spark.app.runner import add_arguments, context_for, guarded, wide
from vizrec_spark.config import load_config
from vizrec_spark.embed.cleanup import encoders_in_use, remove_other_encoders
from vizrec_spark.embed.stage import STAGE
from vizrec_spark.stage import log
from vizrec_spark.tables.encoders import current_encoder


def add_encoders_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """``--prune``, and what every job takes."""
    parser.add_argument(
        "--prune", action="store_true", help="delete the vectors of all encoders but the configured one"
    )
    return add_arguments(parser)


def run_encoders(args: argparse.Namespace) -> int:
    """Prunes if asked to, then prints what is there; the exit code."""

    def body(_: Console) -> None:
        context = context_for(
            load_config(args.config, args.overrides), STAGE, args.run_id or f"prune-{secrets.token_hex(3)}"
        )
        if args.prune:
            for written in remove_other_encoders(context):
                log.info("encoders: %s rows deleted from %s", f"{written.changed:,}", written.table)
        current = current_encoder(context.tables, context.config.embed)
        shown = RichTable("encoder", "vectors", "configured as", "", title="Encoders", title_justify="left")
        for row in encoders_in_use(context.tables).orderBy("encoder_id").collect():
            mark = "current" if row.encoder_id == current else ""
            shown.add_row(
                row.encoder_id, f"{row.vectors:,}", "\n".join(map(_short, row.configurations)), mark
            )
        wide(sys.stdout).print(shown)

    return guarded(body, args)


def _short(config_key: str) -> str:
    """What differs from the defaults, in one line."""
    said = {k: v for k, v in json.loads(config_key).items() if v not in (None, {}, "auto")}
    return ", ".join(f"{name}={value}" for name, value in said.items())
