"""Takes the place of stage `embed` in generated shops too large to draw: vectors of known likeness for each product."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pyspark import StorageLevel
from pyspark.sql import functions as F

from vizrec_spark.demo.catalogue import END, generate_catalogue
from vizrec_spark.demo.vectors import CHUNK, VectorSpace
from vizrec_spark.demo.vocabulary import COLOURS, KINDS, PATTERNS
from vizrec_spark.stage import Stage, StageContext, StageResult
from vizrec_spark.tables.encoders import encoder_key
from vizrec_spark.tables.schemas import EMBEDDINGS, ENCODERS, IMAGES, ITEMS

ENCODER = "drawn"
"""What `embed.encoder` must be set to, so that the later stages find these vectors."""

_SIDE = 16
_MADE = "item_id string, sha256 string, content binary, vector array<float>"


def drawn_embeddings(n_items: int, *, seed: int, dim: int = 2048) -> Stage:
    """A stage named `embed` for the shop that ``write_shop(pictures=False)`` made of the same ``n_items`` and ``seed``.

    It gives each accepted item a vector of ``dim`` components, near those of its kind, colour and pattern (see
    `VectorSpace`), and a swatch of its colour as its picture; both replace what the tables held.
    """
    space = VectorSpace(dim, seed, len(KINDS), len(COLOURS), len(PATTERNS))

    def run(context: StageContext) -> StageResult:
        tables = context.tables
        key = encoder_key(context.config.embed)
        encoder_id = f"{ENCODER}-{hashlib.sha256(f'{key} {space}'.encode()).hexdigest()[:12]}"
        products = context.spark.createDataFrame(_labels(n_items, seed))
        accepted = tables.read(ITEMS).select("item_id")
        made = (
            products.groupBy("chunk")
            .applyInArrow(lambda chunk: _make(space, chunk), _MADE)
            .join(accepted, "item_id", "left_semi")
            .persist(StorageLevel.DISK_ONLY)
        )
        try:
            pictures = made.select(
                "item_id",
                F.concat("item_id", F.lit(".png")).alias("path"),
                "sha256",
                F.lit(_SIDE).alias("width"),
                F.lit(_SIDE).alias("height"),
                F.lit("PNG").alias("format"),
                F.length("content").cast("long").alias("bytes"),
                F.lit(datetime.fromtimestamp(END, UTC)).alias("modified"),
                "content",
            )
            vectors = made.select("sha256", F.lit(encoder_id).alias("encoder_id"), "vector")
            row = context.spark.createDataFrame([(key, encoder_id, dim)], ENCODERS.schema)
            written = [
                tables.overwrite(IMAGES, pictures),
                tables.insert_missing(EMBEDDINGS, vectors),
                tables.upsert(ENCODERS, row),
            ]
        finally:
            made.unpersist()
        told = f"{written[1].changed:,} vectors drawn in place of pictures ({encoder_id})"
        return StageResult(written, [told], {"pictures": float(written[1].changed)})

    return Stage("embed", "draw vectors in place of pictures", run)


def _labels(n_items: int, seed: int) -> pd.DataFrame:
    catalogue = generate_catalogue(n_items, seed=seed)
    return pd.DataFrame(
        {
            "chunk": np.arange(n_items) // CHUNK,
            "item_id": catalogue.item_id.astype(object),
            "kind": catalogue.kind,
            "colour": catalogue.colour,
            "pattern": catalogue.pattern,
        }
    )


def _make(space: VectorSpace, chunk: pa.Table) -> pa.Table:
    chunk = chunk.sort_by("item_id")
    labels = np.stack([chunk[name].to_numpy() for name in ("kind", "colour", "pattern")], axis=1)
    vectors = space.of_labels(labels, chunk=chunk["chunk"][0].as_py())
    contents = [
        _swatch(item, int(colour))
        for item, colour in zip(chunk["item_id"].to_pylist(), labels[:, 1], strict=True)
    ]
    offsets = pa.array(np.arange(len(vectors) + 1, dtype=np.int32) * space.dim, pa.int32())
    return pa.table(
        {
            "item_id": chunk["item_id"],
            "sha256": [hashlib.sha256(content).hexdigest() for content in contents],
            "content": pa.array(contents, pa.binary()),
            "vector": pa.ListArray.from_arrays(offsets, pa.array(vectors.ravel())),
        }
    )


def _swatch(item_id: str, colour: int) -> bytes:
    """A PNG in one colour; the item's id in it makes its bytes those of no other item."""
    note = PngInfo()
    note.add_text("item", item_id)
    out = BytesIO()
    _plain(colour).save(out, "PNG", pnginfo=note)
    return out.getvalue()


@lru_cache(maxsize=len(COLOURS))
def _plain(colour: int) -> Any:
    return Image.new("RGB", (_SIDE, _SIDE), COLOURS[colour].rgb)
