"""The tables that the service reads, as large as those of a real shop, drawn and written without Spark.

Ids, titles, reasons and vectors are as long as real ones. Who is whose look-alike is drawn at random, as a look-up
costs the same whoever stands there; the vectors are those of `benchmarks.vectors`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from PIL import Image
from pyspark.sql.pandas.types import to_arrow_schema

from benchmarks.tables import new_table
from benchmarks.vectors import drawn_vectors
from vizrec_spark.config import Config
from vizrec_spark.config.encoders import encoder_key
from vizrec_spark.serve.lists import PARTS, SOURCE_NAMES
from vizrec_spark.tables import Table
from vizrec_spark.tables import schemas as S

WHEN = datetime(2025, 6, 1, tzinfo=UTC)
BLOCK = 10_000
LIVE_EVERY_S = 1.0
LIVE_NEW = 300


def item(number: int) -> str:
    """The id of an item."""
    return f"item-{number:07}"


def user(number: int) -> str:
    """The id of a user."""
    return f"user-{number:07}"


def write_tables(
    args: argparse.Namespace, root: Path, config: Config, encoder_id: str, dimension: int
) -> None:
    """All that the service reads, block by block."""
    n, draw = args.items, np.random.default_rng(0)
    small = BytesIO()
    Image.new("RGB", (64, 64), (200, 180, 160)).save(small, "JPEG")
    hashes = [hashlib.sha256(item(i).encode()).hexdigest() for i in range(n)]
    kinds = ("bag", "boot", "coat", "dress", "lamp", "mug", "shirt", "watch")
    _write(root, S.ITEMS, (_items(first, min(first + BLOCK, n), kinds) for first in range(0, n, BLOCK)))
    _write(
        root,
        S.IMAGES,
        (_images(first, hashes[first : first + BLOCK], small.getvalue()) for first in range(0, n, BLOCK)),
    )
    _write(root, S.INTERACTIONS, (_interactions(draw, args) for _ in range(10)))
    _write(
        root,
        S.ENCODERS,
        [{"config_key": [encoder_key(config.embed)], "encoder_id": [encoder_id], "dimension": [dimension]}],
    )
    vectors = drawn_vectors(n, dimension, seed=0)
    _write(
        root,
        S.EMBEDDINGS,
        (
            {
                "sha256": hashes[first : first + BLOCK],
                "encoder_id": [encoder_id] * len(vectors[first : first + BLOCK]),
                "vector": pa.ListArray.from_arrays(
                    np.arange(len(vectors[first : first + BLOCK]) + 1, dtype=np.int32) * dimension,
                    vectors[first : first + BLOCK].ravel(),
                ),
            }
            for first in range(0, n, BLOCK)
        ),
    )
    del vectors
    _write(
        root,
        S.ITEM_NEIGHBORS,
        (_neighbors(draw, first, min(first + BLOCK, n), args, encoder_id) for first in range(0, n, BLOCK)),
    )
    texts = ("method", "plan", "setting", "metric", "fingerprint")
    quality: dict[str, Any] = {f.name: [0] for f in S.SIMILARITY_QUALITY.schema.fields}
    quality |= {name: ["drawn"] for name in texts}
    _write(
        root,
        S.SIMILARITY_QUALITY,
        [{**quality, "encoder_id": [encoder_id], "bucket_histogram": [[]], "mean_cosine": [0.4]}],
    )
    _write(
        root,
        S.RECOMMENDATIONS,
        (
            _offers(draw, first, min(first + BLOCK, args.users), args, encoder_id)
            for first in range(0, args.users, BLOCK)
        ),
    )


def _write(root: Path, table: Table, blocks: Sequence[dict[str, Any]] | Iterator[dict[str, Any]]) -> None:
    place, schema = new_table(root, table)
    batches = (batch for block in blocks for batch in pa.Table.from_pydict(block, schema=schema).to_batches())
    write_deltalake(place, pa.RecordBatchReader.from_batches(schema, batches), mode="append")


def _items(first: int, last: int, kinds: Sequence[str]) -> dict[str, Any]:
    numbers = range(first, last)
    return {
        "item_id": [item(i) for i in numbers],
        "title": [f"A {kinds[i % 8]} of the season, number {i}" for i in numbers],
        "categories": [[kinds[i % 8]] for i in numbers],
        "price": [5.0 + i % 200 for i in numbers],
        "added_at": [WHEN] * len(numbers),
        "attributes": [[("colour", kinds[i % 7]), ("pattern", "plain")] for i in numbers],
    }


def _images(first: int, hashes: Sequence[str], content: bytes) -> dict[str, Any]:
    numbers = range(first, first + len(hashes))
    return {
        "item_id": [item(i) for i in numbers],
        "path": [f"{i}.jpg" for i in numbers],
        "sha256": hashes,
        "width": [64] * len(hashes),
        "height": [64] * len(hashes),
        "format": ["JPEG"] * len(hashes),
        "bytes": [len(content)] * len(hashes),
        "modified": [WHEN] * len(hashes),
        "content": [content] * len(hashes),
    }


def _interactions(draw: np.random.Generator, args: argparse.Namespace) -> dict[str, Any]:
    rows = args.users
    popular = np.minimum((args.items * draw.random(rows) ** 3).astype(int), args.items - 1)
    return {
        "user_id": [user(u) for u in draw.integers(0, args.users, rows)],
        "item_id": [item(i) for i in popular],
        "event": ["view"] * rows,
        "rating": [None] * rows,
        "weight": [1.0] * rows,
        "timestamp": [WHEN] * rows,
    }


def _neighbors(
    draw: np.random.Generator, first: int, last: int, args: argparse.Namespace, encoder_id: str
) -> dict[str, Any]:
    rows = (last - first) * args.k
    ids = np.array([item(i) for i in range(args.items)], dtype=object)
    cosine = -np.sort(-draw.uniform(0.4, 1.0, (last - first, args.k)).astype(np.float32), axis=1)
    return {
        "encoder_id": [encoder_id] * rows,
        "item_id": np.repeat(ids[first:last], args.k),
        "rank": np.tile(np.arange(1, args.k + 1, dtype=np.int32), last - first),
        "neighbor_id": ids[draw.integers(0, args.items, rows)],
        "cosine": cosine.ravel(),
        "distance": np.zeros(rows, dtype=np.float32),
    }


def _offers(
    draw: np.random.Generator, first: int, last: int, args: argparse.Namespace, encoder_id: str
) -> dict[str, Any]:
    rows = (last - first) * args.list
    parts = draw.random((rows, len(PARTS))) * [0.4, 0.2, 0.3, 0.1, 0.1, 0.0]
    source = np.array([*SOURCE_NAMES, "popularity"], dtype=object)[parts.argmax(axis=1)]
    because = draw.integers(0, args.items, rows)
    return {
        "user_id": np.repeat(np.array([user(u) for u in range(first, last)], dtype=object), args.list),
        "rank": np.tile(np.arange(1, args.list + 1, dtype=np.int32), last - first),
        "item_id": [item(i) for i in draw.integers(0, args.items, rows)],
        "score": parts.sum(axis=1),
        **{f"score_{part}": parts[:, column] for column, part in enumerate(PARTS)},
        "source": source,
        "proposed_by": [[name] for name in source],
        "because_item_id": [item(i) for i in because],
        "because": [{}] * rows,
        "reason": [f"Looks like “A thing of the season, number {i}”, which you viewed" for i in because],
        "model_id": ["als-0123456789ab"] * rows,
        "encoder_id": [encoder_id] * rows,
    }


@contextmanager
def live_lists(args: argparse.Namespace, root: Path, encoder_id: str) -> Iterator[Path]:
    """While the context lasts, `args.live` lists of `live_recommendations` are written every second, as stage `stream`
    does: all of them into a new file, and those of `LIVE_NEW` users anew. By a process that takes no processor that
    anybody else wants, for it stands for another machine. Gives a file with the number of versions written so far."""
    place = root / S.LIVE_RECOMMENDATIONS.name
    shutil.rmtree(place, ignore_errors=True)
    new_table(root, S.LIVE_RECOMMENDATIONS)
    written = root.parent / "live-written"
    written.write_text("0", encoding="ascii")
    # Not forked: the threads of `deltalake` would not come along.
    writer = get_context("spawn").Process(
        target=_write_live, args=(args, place, encoder_id, written), daemon=True
    )
    writer.start()
    try:
        while written.read_text("ascii") == "0":
            if not writer.is_alive():
                raise RuntimeError("the writer of live lists has ended")
            time.sleep(0.1)
        yield written
    finally:
        writer.terminate()
        writer.join()


def _write_live(args: argparse.Namespace, place: Path, encoder_id: str, written: Path) -> None:
    os.nice(19)
    rows, draw = _live(args, encoder_id), np.random.default_rng(9)
    column = rows.column_names.index("updated_at")
    made_at = np.full(len(rows), np.datetime64(datetime.now(UTC).replace(tzinfo=None), "us"))
    for number in count(1):
        began = time.monotonic()
        made_at[draw.integers(0, len(rows), LIVE_NEW)] = np.datetime64(
            datetime.now(UTC).replace(tzinfo=None), "us"
        )
        fresh = pa.array(made_at, pa.timestamp("us")).cast(rows.schema.field(column).type)
        write_deltalake(
            str(place), rows.set_column(column, rows.schema.field(column), fresh), mode="overwrite"
        )
        draft = written.with_name("live-draft")
        draft.write_text(str(number), encoding="ascii")
        draft.replace(written)
        time.sleep(max(0.0, LIVE_EVERY_S - (time.monotonic() - began)))


def _live(args: argparse.Namespace, encoder_id: str) -> pa.Table:
    """Lists of the first `args.live` users."""
    schema = to_arrow_schema(S.LIVE_RECOMMENDATIONS.schema, timezone="UTC")
    columns = _offers(np.random.default_rng(7), 0, args.live, args, encoder_id)
    entry = schema.field("offers").type.value_type
    entries = pa.StructArray.from_arrays(
        [pa.array(columns[field.name], field.type) for field in entry], fields=list(entry)
    )
    begin = pa.array(np.arange(args.live + 1, dtype=np.int32) * args.list)
    whole = {
        "user_id": [user(u) for u in range(args.live)],
        "offers": pa.ListArray.from_arrays(begin, entries, type=schema.field("offers").type),
        "latest": [[]] * args.live,
        "last_event_at": [WHEN] * args.live,
        "updated_at": [WHEN] * args.live,
        "batch": [1] * args.live,
        "model_id": ["als-0123456789ab"] * args.live,
        "encoder_id": [encoder_id] * args.live,
    }
    return pa.table(whole, schema=schema)


def commit_again(args: argparse.Namespace, root: Path, pid: int) -> None:
    """One user more: a small commit, after which the service loads the whole table again."""
    schema = to_arrow_schema(S.RECOMMENDATIONS.schema, timezone="UTC")
    encoder_id = pa.table(DeltaTable(str(root / "encoders")).to_pyarrow_table())["encoder_id"][0].as_py()
    rows = _offers(np.random.default_rng(pid), args.users, args.users + 1, args, encoder_id)
    write_deltalake(str(root / "recommendations"), pa.Table.from_pydict(rows, schema=schema), mode="append")
