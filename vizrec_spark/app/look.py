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
from vizrec_spark.errors import ImageRefused, InputError
from vizrec_spark.imaging import inspect_image, load_rgb
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
from vizrec_spark.tables.fine_tuned import SparkShelf
from vizrec_spark.tables.schemas import EMBEDDINGS, IMAGES

KINDS = ("file", "item", "user")
"""What can be looked at, in the order in which it is looked for."""


def add_look_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """What to look at, ``--as``, ``--k``, ``--output``, ``--no-open``, and what every job takes."""
    parser.add_argument("what", help="the id of an item or a user, or the path of a picture")
    parser.add_argument(
        "--as", dest="kind", choices=KINDS, help="what it is (default: the first of these that there is)"
    )
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
        if args.kind == "file" or (args.kind is None and is_file(args.what)):
            require_picture(args.what, config)  # before Spark starts
        path = Path(args.output) if args.output else Path(config.report.path).with_name("look.html")
        title, gallery = find(read_only_tables(config, brief=True), config, args.what, args.kind, args.k)
        write_atomically(path, render_look(gallery, title))
        uri = path.resolve().as_uri()
        Console(file=sys.stdout, soft_wrap=True, highlight=False).print(f"{title}: {uri}", markup=False)
        if not args.no_open and not webbrowser.open(uri):
            Console(stderr=True).print("No browser could be started: open the file yourself.")

    return guarded(body, args)


def find(tables: TableStore, config: Config, what: str, kind: str | None, k: int) -> tuple[str, Gallery]:
    """A title and what to show, of the first of `KINDS` that there is, or of `kind`.

    Raises: InputError for what is neither a file, nor an item, nor a user, or is not of `kind`.
    """
    if kind == "file" or (kind is None and is_file(what)):
        content = read_picture(what, config.ingest.images.max_bytes)
        near, name = _near(tables, config, content, k), readable(Path(what).name)
        return f"Looks like the picture {name}", look_at_picture(tables, config, name, content, near)
    if readable(what) != what:  # no table holds such a text
        raise InputError(f"There is no file {what!r}, and it can be no id: ids are UTF-8.")
    if kind == "item" or (kind is None and has_item(tables, what)):
        return f"Looks like item {what}", look_at_item(tables, config, what, k)
    if kind == "user" or has_user(tables, what):
        return f"Offered to user {what}", look_at_user(tables, config, what, k)
    raise InputError(f"{what!r} is no file, and tables items and users do not have it: name one of these.")


def readable(name: str) -> str:
    """The name with a replacement character for each byte of a file's name that is no UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")


def is_file(name: str) -> bool:
    """Whether there is a file of that name; an id may be longer than any file's name."""
    try:
        return Path(name).is_file()
    except OSError:
        return False


def require_picture(name: str, config: Config) -> None:
    """Raises: InputError as `read_picture`, and for a file that is no picture."""
    images = config.ingest.images
    try:
        inspect_image(read_picture(name, images.max_bytes), max_pixels=images.max_pixels)
    except ImageRefused as error:
        raise InputError(f"{name} is no picture that can be read: {error.message}") from None


def read_picture(name: str, most: int) -> bytes:
    """The bytes of a file.

    Raises: InputError where there is none, or it has more than `most` bytes; then none is read.
    """
    if not is_file(name):
        raise InputError(f"There is no file {name!r}.")
    with Path(name).open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > most:
            raise InputError(
                f"{name} has {size:,} bytes, more than ingest.images.max_bytes ({most:,}): no picture."
            )
        return stream.read(most)


def _near(tables: TableStore, config: Config, content: bytes, k: int) -> DataFrame:
    """The `k` items whose vectors are nearest to that of a picture, by `similar.metric`; all are compared.

    Raises: ImageRefused for bytes that are no picture; EncoderError where the encoder of the vectors cannot run here.
    """
    encoder_id = encoder_of(tables, config)
    threads = config.embed.threads or os.cpu_count() or 1
    runtime = published_runtime(config.embed, encoder_id, threads, SparkShelf(tables))
    pixels = load_rgb(content, runtime.input_size, max_pixels=config.ingest.images.max_pixels)
    embeddings = tables.pinned(EMBEDDINGS).where(F.col("encoder_id") == encoder_id)
    base = item_vectors(item_pictures(tables.pinned(IMAGES), embeddings), embeddings)
    asked = [(picture_id(content), runtime.encode(pixels[None])[0].tolist())]
    query = embeddings.sparkSession.createDataFrame(asked, "item_id string, vector array<float>")
    return exact_neighbors(query, base, k=k, metric=config.similar.metric)
