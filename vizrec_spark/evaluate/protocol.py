"""The configured split, and what may be recommended under it."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import DataFrame

from vizrec_spark.config.models import EvaluateConfig
from vizrec_spark.errors import TooFewUsers
from vizrec_spark.evaluate.splits import (
    TEST,
    cold_items,
    global_time,
    leave_last_out,
    part_of,
    time_limits,
    user_time,
)


def split_by(interactions: DataFrame, config: EvaluateConfig) -> DataFrame:
    """`interactions` with column `part`, as `evaluate.protocol` says.

    ``global_time`` without moments looks at the log for them (an action).
    """
    match config.protocol:
        case "user_time":
            return user_time(
                interactions,
                test_share=config.test_share,
                validation_share=config.validation_share,
                min_interactions=config.min_interactions,
            )
        case "leave_last_out":
            return leave_last_out(interactions, min_interactions=config.min_interactions)
        case "cold_items":
            return cold_items(
                interactions,
                share=config.cold_share,
                validation_share=config.validation_share,
                seed=config.seed,
            )
        case _:
            validation_from, test_from = _moments(interactions, config)
            return global_time(interactions, validation_from=validation_from, test_from=test_from)


def candidate_items(split: DataFrame, items: DataFrame, config: EvaluateConfig) -> DataFrame:
    """`item_id`, each once: what may be recommended. Under ``cold_items`` the cold ones, which are ranked among
    themselves; else all of `items`."""
    if config.protocol == "cold_items":
        return part_of(split, TEST).select("item_id").distinct()
    return items.select("item_id")


def _moments(interactions: DataFrame, config: EvaluateConfig) -> tuple[datetime, datetime]:
    if config.moments is not None:
        return config.moments
    limits = time_limits(
        interactions, test_share=config.test_share, validation_share=config.validation_share
    ).collect()[0]
    if limits.test_from is None:
        raise TooFewUsers(
            "Table interactions is empty, so there is nothing to split by time: run `ingest` first."
        )
    return limits.validation_from, limits.test_from
