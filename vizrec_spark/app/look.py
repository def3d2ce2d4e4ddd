"""Command `look`: one item, user or picture as a page in the browser."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from rich.console import Console

from vizrec_spark.app.runner import add_arguments, guarded, positive, read_only_tables
from vizrec_spark.config import Config, load_config
from vizrec_spark.embed.resolve import published_runtime
from vizrec_spark.errors import InputError
from vizrec_spark.imaging import load_rgb
from vizrec_spark.report.look import (
    encoder_of,
    has_item,
    has_user,
    look_at_item,
    look_at_picture,
    look_at_user,
    picture_id,
)
from vizrec_spark.report.model import Gallery
from vizrec_spark.report.render import render_look
from vizrec_spark.report.stage import write_atomically
from vizrec_spark.similar.exact import exact_neighbors
from vizrec_spark.similar.vectors import item_pictures, item_vectors
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.schemas import EMBEDDINGS, IMAGES


def add_look_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """What to look at, ``--k``, ``--output``, ``--no-open``, and what every job takes."""
    parser.add_argument("what", help="the id of an item or a user, or the path of a picture")
    parser.add_argument(
        "--k", type=positive, default=10, metavar="N", help="rows to show, at least 1 (default: %(default)s)"
    )
    parser.add_argument(
        "--output", metavar="FILE", help="where to write the page (default: look.html beside report.path)"
    )
    parser.add_argument("--no-open", action="store_true", help="only write the page and name it")
    return add_arguments(parser)


def run_look(args: argparse.Namespace) -> int:
    """Writes the page and opens it in the browser; the exit code."""

    def body(_: Console) -> None:
        config = load_config(args.config, args.overrides)
        path = Path(args.output) if args.output else Path(config.report.path).with_name("look.html")
        title, gallery = _find(read_only_tables(config), config, args.what, args.k)
        write_atomically(path, render_look(gallery, title))
        uri = path.resolve().as_uri()
        Console(file=sys.stdout, soft_wrap=True, highlight=False).print(f"{title}: {uri}", markup=False)
        if not args.no_open and not webbrowser.open(uri):
            Console(stderr=True).print("No browser could be started: open the file yourself.")

    return guarded(body, args)


def _find(tables: TableStore, config: Config, what: str, k: int) -> tuple[str, Gallery]:
    """A title and what to show. Raises: InputError for what is neither a file, nor an item, nor a user."""
    file = Path(what)
    if file.is_file():
        content = file.read_bytes()
        near = _near(tables, config, content, k)
        return f"Looks like {file.name}", look_at_picture(tables, config, file.name, content, near)
    if has_item(tables, what):
        return f"Looks like {what}", look_at_item(tables, config, what, k)
    if has_user(tables, what):
        return f"Offered to {what}", look_at_user(tables, config, what, k)
    raise InputError(f"{what!r} is no file, and tables items and users do not have it: name one of these.")


def _near(tables: TableStore, config: Config, content: bytes, k: int) -> DataFrame:
    """The `k` items whose vectors are nearest to that of a picture; all are compared.

    Raises: ImageRefused for bytes that are no picture; EncoderError where the encoder of the vectors cannot run here.
    """
    encoder_id = encoder_of(tables, config)
    runtime = published_runtime(config.embed, encoder_id, config.embed.threads or os.cpu_count() or 1)
    pixels = load_rgb(content, runtime.input_size, max_pixels=config.ingest.images.max_pixels)
    embeddings = tables.pinned(EMBEDDINGS).where(F.col("encoder_id") == encoder_id)
    base = item_vectors(item_pictures(tables.pinned(IMAGES), embeddings), embeddings)
    asked = [(picture_id(content), runtime.encode(pixels[None])[0].tolist())]
    query = embeddings.sparkSession.createDataFrame(asked, "item_id string, vector array<float>")
    return exact_neighbors(query, base, k=k)
