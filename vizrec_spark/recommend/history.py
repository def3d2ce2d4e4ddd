"""What each user did, gathered into one row a pair, and one row a user."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import AlsConfig, RerankConfig
from vizrec_spark.retrieval.preferences import event_weight
from vizrec_spark.tables.liking import liking


def touched_pairs(interactions: DataFrame, config: RerankConfig, als: AlsConfig) -> DataFrame:
    """One row a user and item: `user_id`, `item_id`, `event` (the one of largest weight), `weight` (see `liking`; 0 for
    what they do not like), `preference` (what ALS learns from: the weight, by `als.events` where they are set, at most
    `als.max_weight`, or under an explicit model the latest rating, null without one), `first` and `time` (seconds since
    1970 of the first and the last event), `barred` (whether the policy for what a user has met already,
    `config.already`, keeps it out of the list; what they do not like never comes again)."""
    if config.already == "leave_out":
        barred = F.lit(True)
    else:
        bought = (
            F.col("event").isin(list(config.bought)) if config.already == "leave_out_bought" else F.lit(False)
        )
        barred = F.coalesce(F.max(bought), F.lit(False)) | (liking() == 0)
    if als.preference == "explicit":
        preference = F.max_by("rating", F.struct(F.col("rating").isNotNull(), "timestamp", "event"))
    else:
        preference = F.least(liking(event_weight(als)), F.lit(als.max_weight))
    return interactions.groupBy("user_id", "item_id").agg(
        F.max_by("event", F.struct("weight", "event")).alias("event"),
        liking().alias("weight"),
        preference.alias("preference"),
        F.min(F.col("timestamp").cast("double")).alias("first"),
        F.max(F.col("timestamp").cast("double")).alias("time"),
        barred.alias("barred"),
    )


def user_rows(
    users: DataFrame, touched: DataFrame, user_factors: DataFrame, segments: DataFrame | None = None
) -> DataFrame:
    """One row a user: `user_id`, `factors` (array<float>, null without a model row), `history`, `segment` (of table
    `segments`; null without).

    `history` is an array of structs, one for each row of `touched`: `item_id`, `event`, `weight`, `time`, `barred`;
    null for a user who did nothing.
    """
    histories = touched.groupBy("user_id").agg(
        F.collect_list(F.struct("item_id", "event", "weight", "time", "barred")).alias("history")
    )
    factors = user_factors.select("user_id", "factors")
    rows = users.select("user_id").join(histories, "user_id", "left").join(factors, "user_id", "left")
    if segments is None:
        return rows.withColumn("segment", F.lit(None).cast("string"))
    return rows.join(segments.select("user_id", "segment"), "user_id", "left")
