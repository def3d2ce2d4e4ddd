"""Splits of interactions: each gives every row a `part`, and nothing is lost or doubled."""

from __future__ import annotations

from vizrec_spark.evaluate.splits.cold_items import cold_items
from vizrec_spark.evaluate.splits.global_time import global_time, time_limits
from vizrec_spark.evaluate.splits.leave_last_out import leave_last_out
from vizrec_spark.evaluate.splits.parts import (
    PART,
    PARTS,
    TEST,
    TRAIN,
    VALIDATION,
    known_before_test,
    part_of,
)
from vizrec_spark.evaluate.splits.relevance import relevant_items, require_users
from vizrec_spark.evaluate.splits.user_time import user_time

__all__ = [
    "PART",
    "PARTS",
    "TEST",
    "TRAIN",
    "VALIDATION",
    "cold_items",
    "global_time",
    "known_before_test",
    "leave_last_out",
    "part_of",
    "relevant_items",
    "require_users",
    "time_limits",
    "user_time",
]
