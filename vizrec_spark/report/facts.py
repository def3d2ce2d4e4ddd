"""Counts and names for the head of the page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pyspark.sql import functions as F

from vizrec_spark.report.model import Facts
from vizrec_spark.stage import StageContext
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.schemas import (
    IMAGES,
    INTERACTIONS,
    ITEMS,
    RECOMMENDATIONS,
    USERS,
)


def gather_facts(context: StageContext) -> Facts:
    """The facts as the tables have them now.

    Raises: TableError when `items`, `users` or `interactions` is missing.
    """
    tables = context.tables
    latest = tables.read(INTERACTIONS).select(F.max("timestamp").cast("double")).first()
    used = tables.read_or_empty(RECOMMENDATIONS).select("model_id").first()
    encoder_id = current_encoder(tables, context.config.embed)
    return Facts(
        run_id=context.run_id,
        n_items=tables.read(ITEMS).count(),
        n_users=tables.read(USERS).count(),
        n_pictures=tables.read_or_empty(IMAGES).count(),
        n_interactions=tables.read(INTERACTIONS).count(),
        latest=moment(latest[0]) if latest is not None else None,
        encoder_id=encoder_id,
        encoder_name=context.config.embed.encoder if encoder_id is not None else None,
        model_id=used.model_id if used is not None else None,
    )


def moment(seconds: float | None) -> datetime | None:
    """Seconds since 1970 as a time in UTC; null where there is none or the calendar ends before it."""
    if seconds is None:
        return None
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        return None
