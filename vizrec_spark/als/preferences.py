"""Interactions become preferences: one number for each user and item."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from vizrec_spark.config.models import AlsConfig
from vizrec_spark.tables.liking import liking

_PAIR = ("user_id", "item_id")
_DAY = 86_400.0


def preferences(interactions: DataFrame, config: AlsConfig) -> DataFrame:
    """`user_id`, `item_id`, `preference` (double, above 0 for implicit) from table `interactions`.

    Users beyond the fence of `outliers` are left out first. Then, for user u and item i,

    implicit: p(u, i) = min(max_weight, Σ over the events e of u with i of w(e) · 2 ^ (−age(e) / half_life_days)),
    where w(e) is ``config.events[type of e]``, or for other types the row's `weight`; a low rating (`weight` 0) has
    none. age(e) is the time from e to the latest event of all, in days; without a half-life the power is 1. The cap
    keeps one keen user from drowning the rest. p is 0 where the latest rating of u for i is a low one, and pairs
    with p = 0 are left out.

    explicit: p(u, i) is the latest rating of u for i; pairs without a rating are left out, and weights, half-life
    and cap say nothing.

    What is too thin to learn from is then peeled off by `core_round` until nothing more falls (`prepare.prepared`).
    """
    kept = interactions
    if config.outlier_fence is not None:
        bots = outliers(interactions, config.outlier_fence).select("user_id")
        kept = interactions.join(bots, "user_id", "left_anti")
    if config.preference == "explicit":
        latest = F.max_by("rating", F.struct("timestamp", "event"))
        return kept.where("rating IS NOT NULL").groupBy(*_PAIR).agg(latest.alias("preference"))
    weight = _weight(config)
    if config.half_life_days is not None:
        last = interactions.agg(F.max("timestamp").alias("_last"))
        kept = kept.crossJoin(F.broadcast(last))
        age = (F.col("_last").cast("double") - F.col("timestamp").cast("double")) / F.lit(_DAY)
        weight = weight * F.pow(F.lit(2.0), -age / F.lit(config.half_life_days))
    capped = F.least(liking(weight), F.lit(config.max_weight))
    return kept.groupBy(*_PAIR).agg(capped.alias("preference")).where("preference > 0")


def _weight(config: AlsConfig) -> Column:
    if not config.events:
        return F.col("weight")
    named = F.create_map(*(F.lit(part) for pair in sorted(config.events.items()) for part in pair))
    return F.when(F.col("weight") == 0, 0.0).otherwise(F.coalesce(named[F.col("event")], F.col("weight")))


def outliers(interactions: DataFrame, fence: float) -> DataFrame:
    """`user_id`, `events` (long) of users who act so much more than others that they are taken for programs.

    Tukey's rule on the logarithm of the number of events, whose distribution over users is near to symmetric: above
    Q3 + `fence` · (Q3 − Q1), with the quartiles over all users (Tukey 1977, "Exploratory Data Analysis"; 3 is his
    "far out").
    """
    counts = interactions.groupBy("user_id").agg(F.count(F.lit(1)).alias("events"))
    log = F.log(F.col("events").cast("double"))
    quartiles = counts.agg(F.percentile(log, F.array(F.lit(0.25), F.lit(0.75))).alias("_q"))
    low, high = F.col("_q")[0], F.col("_q")[1]
    far = counts.crossJoin(F.broadcast(quartiles)).where(log > high + F.lit(fence) * (high - low))
    return far.select("user_id", "events")


def core_round(preferences: DataFrame, min_user_items: int, min_item_users: int) -> DataFrame:
    """One peel towards the k-core: without users of fewer than `min_user_items` items, then without items of fewer
    than `min_item_users` of the users left.

    Repeated until no row falls, this gives the largest part in which every user and every item has enough.
    """
    peeled = preferences
    for side, least in (("user_id", min_user_items), ("item_id", min_item_users)):
        if least > 1:
            degree = F.count(F.lit(1)).over(Window.partitionBy(side))
            peeled = peeled.withColumn("_degree", degree).where(F.col("_degree") >= least).drop("_degree")
    return peeled
