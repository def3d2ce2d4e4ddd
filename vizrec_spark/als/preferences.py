"""Interactions become preferences: one number for each user and item."""

from __future__ import annotations

from typing import Literal

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.tables.liking import liking


def preferences(
    interactions: DataFrame, kind: Literal["implicit", "explicit"], max_weight: float
) -> DataFrame:
    """`user_id`, `item_id`, `preference` (double, above 0 for implicit) from table `interactions`.

    implicit: the sum of the events' weights, at most `max_weight`, so that one keen user does not drown the rest;
    what the user rated low is left out.
    explicit: the latest rating; events without a rating are left out.
    """
    pair = ["user_id", "item_id"]
    if kind == "implicit":
        liked = interactions.groupBy(*pair).agg(F.least(liking(), F.lit(max_weight)).alias("preference"))
        return liked.where("preference > 0")
    latest = F.max_by("rating", F.struct("timestamp", "event"))
    return interactions.where("rating IS NOT NULL").groupBy(*pair).agg(latest.alias("preference"))
