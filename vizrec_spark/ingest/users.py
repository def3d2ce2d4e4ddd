"""Validates the optional list of users."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.ingest.judge import badly_encoded, judge, malformed, refuse_repeated
from vizrec_spark.ingest.sources import MALFORMED, RAW, quoted


def validate_users(raw: DataFrame, column: str, segment: str | None = None) -> DataFrame:
    """Raw user records (see `read_source`): `user_id`, `segment` (null without one), `_record`, `reason`, `message`.

    Refused: malformed_record, bad_encoding, missing_key, duplicate_key.
    """
    group = F.lit(None).cast("string") if segment is None else F.col(quoted(segment))
    read = raw.select(F.col(quoted(column)).alias("user_id"), group.alias("segment"), RAW, MALFORMED)
    missing = ("missing_key", F.col("user_id").isNull(), f"The user id (column {column!r}) is empty.")
    return refuse_repeated(judge(read, [malformed(), badly_encoded(), missing]), ["user_id"], "user").drop(
        MALFORMED
    )
