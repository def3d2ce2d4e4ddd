"""Looks things up in the tables: an item's look-alikes, a user's recommendations."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from vizrec_spark.app.runner import add_arguments, guarded, positive, read_only_tables, wide
from vizrec_spark.config import load_config
from vizrec_spark.errors import InputError, TableError
from vizrec_spark.tables import Table, TableStore
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.schemas import ITEM_NEIGHBORS, ITEMS, RECOMMENDATIONS, USERS

_PARTS = {
    "cf": "cf",
    "together": "cooccurrence",
    "looks": "visual",
    "alike": "attributes",
    "popular": "popularity",
    "boost": "boost",
}
"""Names of the parts in the printed table, and of their columns."""


def add_lookup_arguments(parser: argparse.ArgumentParser, name: str, summary: str) -> argparse.ArgumentParser:
    """The id to look up, ``--k``, and what every job takes."""
    parser.add_argument(name, help=summary)
    parser.add_argument(
        "--k", type=positive, default=10, metavar="N", help="rows to show, at least 1 (default: %(default)s)"
    )
    return add_arguments(parser)


def look_up_neighbors(args: argparse.Namespace) -> int:
    """Prints an item's look-alikes; the exit code."""

    def body(_: Console) -> None:
        config = load_config(args.config, args.overrides)
        tables = read_only_tables(config, brief=True)
        encoder_id = current_encoder(tables, config.embed)
        if encoder_id is None:
            raise TableError(
                "No embeddings of the configured encoder: run stage `embed` with this configuration."
            )
        title = _title_of(tables, ITEMS, "item_id", args.item_id)
        rows = (
            tables.read(ITEM_NEIGHBORS)
            .where((F.col("encoder_id") == encoder_id) & (F.col("item_id") == args.item_id))
            .where(F.col("rank") <= args.k)
            .join(_titles(tables, "neighbor_id"), "neighbor_id", "left")
            .orderBy("rank")
            .collect()
        )
        shown = result_table(
            f"Looks like {args.item_id} {title}",
            ("rank", "item", "title", "cosine", "distance"),
            [(r["rank"], r.neighbor_id, r.title or "", f"{r.cosine:.3f}", f"{r.distance:.2f}") for r in rows],
        )
        _print(
            shown, f"{args.item_id} has no look-alikes: it has no accepted picture, or no other item has one."
        )

    return guarded(body, args)


def look_up_recommendations(args: argparse.Namespace) -> int:
    """Prints a user's recommendations with their reasons; the exit code."""

    def body(_: Console) -> None:
        tables = read_only_tables(load_config(args.config, args.overrides), brief=True)
        _title_of(tables, USERS, "user_id", args.user_id)
        rows = (
            tables.read(RECOMMENDATIONS)
            .where((F.col("user_id") == args.user_id) & (F.col("rank") <= args.k))
            .join(_titles(tables, "item_id"), "item_id", "left")
            .orderBy("rank")
            .collect()
        )
        shown = result_table(
            f"For {args.user_id}",
            ("rank", "item", "title", "score", *_PARTS, "why"),
            [
                (
                    r["rank"],
                    r.item_id,
                    r.title or "",
                    *(f"{r[name]:.3f}" for name in ("score", *(f"score_{part}" for part in _PARTS.values()))),
                    r.reason,
                )
                for r in rows
            ],
        )
        _print(
            shown,
            f"Nothing is left to offer to {args.user_id}, or stage `recommend` has not met this user yet.",
        )

    return guarded(body, args)


def _titles(tables: TableStore, name: str) -> DataFrame:
    return tables.read(ITEMS).select(F.col("item_id").alias(name), "title")


def _title_of(tables: TableStore, table: Table, key: str, wanted: str) -> str:
    """The title of an item ("" for a user).

    Raises: InputError with the nearest known ids when `wanted` is unknown.
    """
    rows = tables.read(table)
    found = rows.where(F.col(key) == wanted).first()
    if found is None:
        known = [
            r[0]
            for r in rows.select(key)
            .orderBy(F.levenshtein(F.col(key), F.lit(wanted)), key)
            .limit(3)
            .collect()
        ]
        near = ", ".join(known)
        raise InputError(f"There is no {key} {wanted!r} in table {table.name}. Nearest: {near or 'none'}.")
    return str(found["title"] or "") if "title" in table.columns else ""


def result_table(title: str, names: Sequence[str], rows: Iterable[Sequence[object]]) -> RichTable:
    """A table in which ids and titles stand as they are, whatever brackets they hold."""
    table = RichTable(title=Text(title), title_justify="left", title_style="bold")
    for name in names:
        table.add_column(
            name, justify="left" if name in ("item", "title", "why") else "right", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    return table


def _print(table: RichTable, if_empty: str) -> None:
    wide(sys.stdout).print(table if table.row_count else if_empty, markup=False)
