"""Wires stage `report`: the tables become one HTML file."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from pyspark.sql import functions as F

from vizrec_spark.report.collect import build_gallery
from vizrec_spark.report.facts import gather_facts
from vizrec_spark.report.pictures import first_pictures
from vizrec_spark.report.render import render, same_but_for_run
from vizrec_spark.stage import Stage, StageContext, StageResult
from vizrec_spark.tables import Written
from vizrec_spark.tables.schemas import (
    INTERACTIONS,
    ITEM_NEIGHBORS,
    ITEMS,
    RECOMMENDATIONS,
    USERS,
)


def run(context: StageContext) -> StageResult:
    """Writes the gallery to `report.path`, in one step, in place of the one that stands there."""
    tables, config = context.tables, context.config.report
    facts = gather_facts(context)
    neighbors = tables.read_or_empty(ITEM_NEIGHBORS).where(F.col("encoder_id") == F.lit(facts.encoder_id))
    gallery = build_gallery(
        facts,
        items=tables.read(ITEMS),
        pictures=partial(first_pictures, tables),
        users=tables.read(USERS),
        interactions=tables.read(INTERACTIONS),
        neighbors=neighbors,
        recommendations=tables.read_or_empty(RECOMMENDATIONS),
        config=config,
        max_pixels=context.config.ingest.images.max_pixels,
    )
    path, page, pictures = Path(config.path), render(gallery), len(gallery.thumbnails)
    changed = not (
        path.is_file() and same_but_for_run(path.read_text(encoding="utf-8", errors="replace"), page)
    )
    write_atomically(path, page)
    note = (
        f"{len(gallery.shoppers)} shoppers and {len(gallery.showcases)} items with look-alikes, {pictures} pictures, "
        f"{len(page.encode()) / 1e6:.1f} MB"
    )
    return StageResult(
        [Written("gallery (HTML)", str(path), 0, rows=pictures, changed=pictures if changed else 0)], [note]
    )


STAGE = Stage("report", "write the HTML gallery", run)


def write_atomically(path: Path, text: str) -> None:
    """Puts `text` (UTF-8) at `path`, making its folder; a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
