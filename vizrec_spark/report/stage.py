"""Wires stage `report`: the tables become one HTML file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import functions as F

from vizrec_spark.report.collect import build_gallery, choose, known_items
from vizrec_spark.report.facts import gather_facts
from vizrec_spark.report.model import Facts, Gallery, Item, Section
from vizrec_spark.report.pictures import small_pictures
from vizrec_spark.report.render import render, same_but_for_run
from vizrec_spark.report.sections.health import read_health
from vizrec_spark.report.sections.quality import read_quality
from vizrec_spark.report.sections.search import read_search
from vizrec_spark.report.sections.space import SpaceRows, read_space, show_space
from vizrec_spark.report.sections.weights import read_weights
from vizrec_spark.stage import Stage, StageContext, StageResult
from vizrec_spark.tables import Written
from vizrec_spark.tables.schemas import (
    INTERACTIONS,
    ITEM_NEIGHBORS,
    ITEMS,
    RECOMMENDATIONS,
    USERS,
)


@dataclass(frozen=True)
class Page:
    """All that the page shows, and what became of table `thumbnails` on the way."""

    gallery: Gallery
    sections: tuple[Section, ...]
    thumbnails: Written | None


def run(context: StageContext) -> StageResult:
    """Writes the page to `report.path`, in one step, in place of the one that stands there."""
    page = read_page(context)
    path, html = Path(context.config.report.path), render(page.gallery, page.sections)
    changed = not (
        path.is_file() and same_but_for_run(path.read_text(encoding="utf-8", errors="replace"), html)
    )
    write_atomically(path, html)
    gallery, pictures, megabytes = page.gallery, len(page.gallery.thumbnails), len(html.encode()) / 1e6
    notes = [
        f"{len(gallery.shoppers)} shoppers and {len(gallery.showcases)} items with look-alikes, {pictures} pictures, "
        f"{megabytes:.1f} MB"
    ]
    notes += [
        f"{a.question} {a.word}: {a.sentence}" for a in (s.answer for s in page.sections) if a is not None
    ]
    written = Written("gallery (HTML)", str(path), 0, rows=pictures, changed=pictures if changed else 0)
    kept = [] if page.thumbnails is None else [page.thumbnails]
    return StageResult([written, *kept], notes, {"pictures": float(pictures), "megabytes": megabytes})


def read_page(context: StageContext) -> Page:
    """Everything for the page, out of the tables: samples of bounded size, whatever the size of the catalogue."""
    tables, config = context.tables, context.config.report
    facts = gather_facts(context)
    neighbors = tables.read_or_empty(ITEM_NEIGHBORS).where(F.col("encoder_id") == F.lit(facts.encoder_id))
    chosen = choose(
        items=tables.read(ITEMS),
        users=tables.read(USERS),
        interactions=tables.read(INTERACTIONS),
        neighbors=neighbors,
        recommendations=tables.read_or_empty(RECOMMENDATIONS),
        config=config,
    )
    looks = read_space(context, facts.encoder_id, config.map)
    wanted = sorted(chosen.item_ids | looks.item_ids)
    pictures, written = small_pictures(
        tables, wanted, config.thumbnail, context.config.ingest.images.max_pixels
    )
    known = known_items(tables.read(ITEMS), wanted, pictures)
    return Page(
        build_gallery(facts, chosen, known, pictures), _sections(context, facts, looks, known), written
    )


def _sections(
    context: StageContext, facts: Facts, looks: SpaceRows, known: Mapping[str, Item]
) -> tuple[Section, ...]:
    search = read_search(context, facts.encoder_id)
    quality = search.quality
    compared = None if quality is None else quality.n_items
    mean = None if quality is None else quality.mean_cosine
    return (
        read_health(context, facts.n_items, facts.n_users, compared),
        read_quality(context),
        read_weights(context),
        search,
        show_space(looks, known, mean, compared or 0),
    )


STAGE = Stage("report", "write the HTML page for people", run)


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
