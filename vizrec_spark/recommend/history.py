"""What each user did, gathered into one row a user."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.recommend.pairs import Floats, Users, place_in_group
from vizrec_spark.tables.liking import liking


def user_rows(users: DataFrame, interactions: DataFrame, user_factors: DataFrame) -> DataFrame:
    """One row a user: `user_id`, `factors` (array<float>, null without a model row), `history`.

    `history` is an array of structs, one for each item: `item_id`, `event` (the one of largest weight),
    `weight` (see `liking`; 0 for what they do not like),
    `time` (seconds since 1970 of the last event); empty or null for a user who did nothing.
    """
    touched = interactions.groupBy("user_id", "item_id").agg(
        F.max_by("event", F.struct("weight", "event")).alias("event"),
        liking().alias("weight"),
        F.max(F.col("timestamp").cast("double")).alias("time"),
    )
    histories = touched.groupBy("user_id").agg(
        F.collect_list(F.struct("item_id", "event", "weight", "time")).alias("history")
    )
    factors = user_factors.select("user_id", "factors")
    return users.select("user_id").join(histories, "user_id", "left").join(factors, "user_id", "left")


def recent(users: Users, keep: int, half_life_days: float) -> tuple[NDArray[np.int64], Floats]:
    """The `keep` latest history entries that each user likes (weight above 0), and their influence.

    Returns positions in the history arrays and w = weight · 2^(−age / half-life), the age counted from the
    user's own latest event, scaled so that the largest of a user is 1.
    """
    order = np.lexsort((users.item, -users.time, users.user))
    order = order[users.weight[order] > 0]
    order = order[place_in_group(users.user[order]) < keep]
    who, time = users.user[order], users.time[order]
    latest = np.full(len(users), -np.inf)
    np.maximum.at(latest, who, time)
    age_days = (latest[who] - time) / 86_400.0
    influence = users.weight[order] * np.exp2(-age_days / half_life_days)
    top = np.full(len(users), 1e-300)
    np.maximum.at(top, who, influence)
    return order, influence / top[who]
