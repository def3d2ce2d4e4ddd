"""Counts and names for the head of the page."""

from __future__ import annotations

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


def gather_facts(context: StageContext, encoder_id: str | None) -> Facts:
    """The facts as the tables have them now; `encoder_id`: the configured one's. Runs four jobs.

    Raises: TableError when `items`, `users` or `interactions` is missing.
    """
    tables = context.tables
    counted = tables.read(INTERACTIONS).agg(
        F.count(F.lit(1)).alias("n"), F.max("timestamp").cast("double").alias("latest")
    )
    first = tables.read_or_empty(RECOMMENDATIONS).where("rank = 1").select("user_id", "rank", "model_id")
    offered = tables.read(USERS).select("user_id").join(first, "user_id", "left")
    people = offered.agg(
        F.count(F.lit(1)).alias("n"),
        F.count("rank").alias("n_served"),
        F.max("model_id").alias("model_id"),
    )
    log, users = counted.collect()[0], people.collect()[0]
    return Facts(
        run_id=context.run_id,
        n_items=tables.read(ITEMS).count(),
        n_users=users.n,
        n_pictures=tables.read_or_empty(IMAGES).count(),
        n_interactions=log.n,
        latest=moment(log.latest),
        encoder_id=encoder_id,
        encoder_name=context.config.embed.encoder if encoder_id is not None else None,
        model_id=users.model_id,
        n_served=users.n_served,
    )


def moment(seconds: float | None) -> datetime | None:
    """Seconds since 1970 as a time in UTC; null where there is none or the calendar ends before it."""
    if seconds is None:
        return None
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        return None
