"""Shows the encoders whose vectors are in the tables and the registry; promotes, rolls back and removes."""

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
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.registry import PRODUCTION, promote, promotions, roll_back
from vizrec_spark.tables.schemas import ADAPTED_ENCODERS


def add_encoders_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """``--promote``, ``--roll-back``, ``--prune``, and what every job takes."""
    parser.add_argument(
        "--promote",
        metavar="NAME:VERSION",
        type=_name_and_version,
        help="let this version of an adapted encoder serve; `embed` then makes its vectors",
    )
    parser.add_argument(
        "--roll-back",
        metavar="NAME",
        help="let the version serve again that did before the one that does now",
    )
    parser.add_argument(
        "--stage", default=PRODUCTION, metavar="STAGE", help="where it serves (default: %(default)s)"
    )
    parser.add_argument(
        "--prune", action="store_true", help="delete the vectors of all encoders but the configured one"
    )
    return add_arguments(parser)


def run_encoders(args: argparse.Namespace) -> int:
    """Promotes, rolls back or prunes if asked to, then prints what is there; the exit code."""

    def body(_: Console) -> None:
        context = context_for(
            load_config(args.config, args.overrides),
            STAGE.name,
            args.run_id or f"encoders-{secrets.token_hex(3)}",
        )
        if args.promote is not None:
            name, version = args.promote
            promote(context.tables, context.spark, name, args.stage, version, "promoted by hand")
            log.info("encoders: version %d of %s serves in %s", version, name, args.stage)
        if args.roll_back is not None:
            version, _written = roll_back(context.tables, context.spark, args.roll_back, args.stage)
            log.info("encoders: version %d of %s serves in %s again", version, args.roll_back, args.stage)
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
        _print_versions(context.tables)

    return guarded(body, args)


def _print_versions(tables: TableStore) -> None:
    """Every version of every adapted encoder, and where it serves."""
    versions = tables.read_or_empty(ADAPTED_ENCODERS).drop("weights").orderBy("name", "version").collect()
    if not versions:
        return
    serves: dict[tuple[str, int], list[str]] = {}
    for row in promotions(tables).orderBy("name", "stage").collect():
        serves.setdefault((row.name, row.version), []).append(row.stage)
    shown = RichTable(
        "adapted encoder",
        "version",
        "encoder",
        "behind",
        "accuracy",
        "made",
        "serves in",
        title="Registry",
        title_justify="left",
    )
    for row in versions:
        accuracy = row.metrics.get("accuracy")
        shown.add_row(
            row.name,
            str(row.version),
            row.encoder_id,
            row.base_encoder_id,
            "" if accuracy is None else f"{accuracy:.4f}",
            f"{row.created_at:%Y-%m-%d %H:%M}",
            ", ".join(serves.get((row.name, row.version), [])),
        )
    wide(sys.stdout).print(shown)


def _name_and_version(text: str) -> tuple[str, int]:
    name, _, version = text.partition(":")
    if not name or not version.isdecimal() or int(version) < 1:
        raise argparse.ArgumentTypeError(f"expected NAME:VERSION, for example catalogue:2, got {text!r}")
    return name, int(version)


def _short(config_key: str) -> str:
    """What differs from the defaults, in one line."""
    said = {k: v for k, v in json.loads(config_key).items() if v not in (None, {}, "auto")}
    return ", ".join(f"{name}={value}" for name, value in said.items())
