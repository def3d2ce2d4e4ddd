"""Counts and names for the head of the page."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from pyspark.sql import functions as F

from vizrec_spark.report.model import Facts
from vizrec_spark.stage import StageContext
from vizrec_spark.tables.schemas import (
    IMAGES,
    INTERACTIONS,
    ITEMS,
    RECOMMENDATIONS,
    USERS,
)


def gather_facts(context: StageContext, encoder_id: str | None, pool: ThreadPoolExecutor) -> Facts:
    """The facts as the tables have them now, asked for by threads of `pool`; `encoder_id`: the configured one's.

    Raises: TableError when `items`, `users` or `interactions` is missing.
    """
    tables = context.tables
    latest = pool.submit(lambda: tables.read(INTERACTIONS).select(F.max("timestamp").cast("double")).first())
    used = pool.submit(lambda: tables.read_or_empty(RECOMMENDATIONS).select("model_id").first())
    items = pool.submit(lambda: tables.read(ITEMS).count())
    users = pool.submit(lambda: tables.read(USERS).count())
    pictures = pool.submit(lambda: tables.read_or_empty(IMAGES).count())
    interactions = pool.submit(lambda: tables.read(INTERACTIONS).count())
    last, offer = latest.result(), used.result()
    return Facts(
        run_id=context.run_id,
        n_items=items.result(),
        n_users=users.result(),
        n_pictures=pictures.result(),
        n_interactions=interactions.result(),
        latest=moment(last[0]) if last is not None else None,
        encoder_id=encoder_id,
        encoder_name=context.config.embed.encoder if encoder_id is not None else None,
        model_id=offer.model_id if offer is not None else None,
    )


def moment(seconds: float | None) -> datetime | None:
    """Seconds since 1970 as a time in UTC; null where there is none or the calendar ends before it."""
    if seconds is None:
        return None
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        return None
