"""Wires stage `report`: the tables become one HTML file."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pyspark.sql import Row
from pyspark.sql import functions as F

from vizrec_spark.errors import ConfigError
from vizrec_spark.report.collect import Chosen, build_gallery, choose_shoppers, choose_showcases, known_items
from vizrec_spark.report.facts import gather_facts
from vizrec_spark.report.model import Gallery, Section
from vizrec_spark.report.pictures import keep_pictures, small_pictures
from vizrec_spark.report.pinned import PinnedTables
from vizrec_spark.report.render import render, same_but_for_run
from vizrec_spark.report.sections.health import show_health
from vizrec_spark.report.sections.quality import Quality, read_quality
from vizrec_spark.report.sections.refused import read_refusals
from vizrec_spark.report.sections.runs import read_runs
from vizrec_spark.report.sections.search import read_search
from vizrec_spark.report.sections.space import read_space, show_space
from vizrec_spark.report.sections.weights import read_weights
from vizrec_spark.report.sections.worst import items_of, read_worst, show_worst
from vizrec_spark.session import SMALL_PLANS, own_session
from vizrec_spark.stage import Stage, StageContext, StageResult
from vizrec_spark.tables import Written
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.schemas import (
    INTERACTIONS,
    ITEM_NEIGHBORS,
    ITEMS,
    RECOMMENDATIONS,
    USERS,
)

HEAVIEST = 15_000_000
"""Bytes that the page may weigh."""

_AT_ONCE = 4
_MOST_PARTITIONS = 200
_STATES_OF_TABLES = (
    "spark.databricks.delta.snapshotPartitions"  # some twenty are read, and most have few files
)


@dataclass(frozen=True)
class Page:
    """All that the page shows, and what became of table `thumbnails` on the way."""

    gallery: Gallery
    sections: tuple[Section, ...]
    thumbnails: Written


def run(context: StageContext) -> StageResult:
    """Writes the page to `report.path`, in one step, in place of the one that stands there.

    Raises: ConfigError for settings with which the page would be too heavy; then it is not written.
    """
    page = read_page(context)
    path, html = Path(context.config.report.path), render(page.gallery, page.sections)
    require_light(html)
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
        f"{a.question} {a.word}: {a.sentence} {a.when}".strip()
        for a in (s.answer for s in page.sections)
        if a is not None
    ]
    written = Written("gallery (HTML)", str(path), 0, rows=pictures, changed=pictures if changed else 0)
    return StageResult(
        [written, page.thumbnails], notes, {"pictures": float(pictures), "megabytes": megabytes}
    )


def read_page(context: StageContext) -> Page:
    """Everything for the page, out of the tables: samples of bounded size, whatever the size of the catalogue.

    Each table is read in one version, whoever writes to it meanwhile, so that the parts of the page agree.
    Its jobs are many and small, and what they wait for is mostly planning: some are asked for at the same time.
    """
    few = {_STATES_OF_TABLES: context.spark.conf.get(_STATES_OF_TABLES, "4") or "4"}
    spark = own_session(context.spark, {**SMALL_PLANS, **few}, _MOST_PARTITIONS)
    tables = PinnedTables(spark, context.config.tables, context.tables.stamp)
    context = replace(context, spark=spark, tables=tables)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            return _read_page(context, pool)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # the error is told before the rest is read
            raise


def _read_page(context: StageContext, pool: ThreadPoolExecutor) -> Page:
    tables, config = context.tables, context.config.report
    # First what most of the rest waits for.
    shoppers = pool.submit(_shoppers, context)
    encoder_id = current_encoder(tables, context.config.embed)
    showcases = pool.submit(_showcases, context, encoder_id)
    looked = pool.submit(read_space, context, encoder_id, config.map)
    measured, weights = pool.submit(_quality, context), pool.submit(read_weights, context)
    searched, refused = pool.submit(read_search, context, encoder_id), pool.submit(read_refusals, context)
    counted = pool.submit(gather_facts, context, encoder_id)
    chosen, looks = replace(shoppers.result(), near=showcases.result().near), looked.result()
    runs, quality, worst = measured.result()
    wanted = sorted(chosen.item_ids | looks.item_ids | items_of(worst))
    pictures, new = small_pictures(tables, wanted, config.thumbnail, context.config.ingest.images.max_pixels)
    kept = pool.submit(keep_pictures, tables, new)
    known = known_items(tables.read(ITEMS), wanted, pictures)
    facts, search = counted.result(), searched.result()
    row = search.quality
    compared, mean = (0, None) if row is None else (row.n_items, row.mean_cosine)
    sections = (
        show_health(runs, refused.result(), context.config, facts, row),
        quality,
        show_worst(worst, known),
        weights.result(),
        search,
        show_space(
            looks,
            known,
            mean,
            compared,
            off=not config.map,
            apart=context.config.similar.near_duplicates.cosine is None,
        ),
    )
    return Page(build_gallery(facts, chosen, known, pictures), sections, kept.result())


def _quality(context: StageContext) -> tuple[list[Row], Quality, list[Row]]:
    runs = read_runs(context.tables)
    quality = read_quality(context, runs)
    return runs, quality, read_worst(context.tables, quality)


def _shoppers(context: StageContext) -> Chosen:
    tables = context.tables
    return choose_shoppers(
        tables.read(USERS),
        tables.read(INTERACTIONS),
        tables.read_or_empty(RECOMMENDATIONS),
        context.config.report.shoppers,
    )


def _showcases(context: StageContext, encoder_id: str | None) -> Chosen:
    tables = context.tables
    neighbors = tables.read_or_empty(ITEM_NEIGHBORS).where(F.col("encoder_id") == F.lit(encoder_id))
    return choose_showcases(neighbors, tables.read(ITEMS), context.config.report.items)


STAGE = Stage("report", "write the HTML page for people", run, brief=True)


def require_light(html: str) -> None:
    """Raises: ConfigError for a page that weighs more than `HEAVIEST`."""
    weight = len(html.encode())
    if weight > HEAVIEST:
        raise ConfigError(
            f"The page would weigh {weight / 1e6:.1f} MB, and more than {HEAVIEST / 1e6:.0f} MB is no page for people: "
            "make report.thumbnail smaller, or report.shoppers, report.items or report.map."
        )


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
