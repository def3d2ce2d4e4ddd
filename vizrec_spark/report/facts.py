"""Counts and names for the head of the page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pyspark.sql import functions as F

from vizrec_spark.report.model import Facts, Ran, Recall, Refused
from vizrec_spark.stage import StageContext
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.schemas import (
    IMAGES,
    INTERACTIONS,
    ITEMS,
    QUARANTINE,
    RECOMMENDATIONS,
    RUNS,
    SIMILARITY_QUALITY,
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
    refused = tables.read_or_empty(QUARANTINE).groupBy("source", "reason").count().collect()
    counts = sorted((-row["count"], row.source, row.reason) for row in refused)
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
        recall=_recall(context, encoder_id),
        refused=tuple(Refused(source, reason, -negative) for negative, source, reason in counts),
        runs=_last_runs(context),
    )


def moment(seconds: float | None) -> datetime | None:
    """Seconds since 1970 as a time in UTC; null where there is none or the calendar ends before it."""
    if seconds is None:
        return None
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        return None


def _recall(context: StageContext, encoder_id: str | None) -> Recall | None:
    quality = context.tables.read_or_empty(SIMILARITY_QUALITY).where(F.col("encoder_id") == F.lit(encoder_id))
    row = quality.first()
    if row is None:
        return None
    return Recall(row.method, row.k, row.recall, row.recall_lo, row.recall_hi, row.n_queries)


def _last_runs(context: StageContext) -> tuple[Ran, ...]:
    """The last run of each stage, in the order in which they ended."""
    runs = context.tables.read_or_empty(RUNS)
    last = (
        runs.groupBy("stage")
        .agg(F.max_by(F.struct(*runs.columns), "finished_at").alias("run"))
        .select("run.*")
    )
    found = last.select("*", F.col("finished_at").cast("double").alias("at")).collect()
    return tuple(
        Ran(
            row.stage,
            datetime.fromtimestamp(row.at, UTC),
            row.outcome,
            row.seconds,
            sum(left.changed for left in row.tables),
            dict(row.metrics),
        )
        for row in sorted(found, key=lambda row: row.at)
    )
