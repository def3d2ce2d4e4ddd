"""Interactions become preferences: one number for each user and item."""

from __future__ import annotations

import math
from typing import NamedTuple

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from vizrec_spark.config.models import AlsConfig
from vizrec_spark.tables.liking import liking

_PAIR = ("user_id", "item_id")
_DAY = 86_400.0
_LEAST_SPREAD = math.log(2.0)


class Whole(NamedTuple):
    """What only the whole log tells, for preferences of a part of its users: `present` (see there; None where nothing
    ages) and `most`, the logarithm of the number of events above which a user is beyond the fence (None without)."""

    present: float | None
    most: float | None


def whole_of(interactions: DataFrame, config: AlsConfig) -> Whole:
    """Runs up to two jobs on the whole log."""
    most = moment = None
    kept = interactions
    if config.outlier_fence is not None:
        counts = _events_by_user(interactions)
        most = counts.agg(_far(config.outlier_fence).alias("most")).collect()[0].most
        bots = outliers(interactions, config.outlier_fence).select("user_id")
        kept = interactions.join(bots, "user_id", "left_anti")
    if config.half_life_days is not None:
        moment = present(kept).collect()[0].present
    return Whole(moment, most)


def preferences(interactions: DataFrame, config: AlsConfig, whole: Whole | None = None) -> DataFrame:
    """`user_id`, `item_id`, `preference` (double, above 0 for implicit) from table `interactions`.

    Users beyond the fence of `outliers` are left out first. Then, for user u and item i,

    implicit: p(u, i) = min(max_weight, Σ over the events e of u with i of w(e) · 2 ^ (−age(e) / half_life_days)),
    where w(e) is ``config.events[type of e]``, or for other types the row's `weight`; a low rating (`weight` 0) has
    none. age(e) is the time from e to the moment `present` of the users left, in days, 0 for what lies behind it;
    without a half-life the power is 1, and with one an event counts 1e-12 at least. The cap keeps one keen user from
    drowning the rest. p is 0 where the latest rating of u for i is a low one, and pairs with p = 0 are left out.

    explicit: p(u, i) is the latest rating of u for i; pairs without a rating are left out, and weights, half-life
    and cap say nothing.

    `whole`: where `interactions` are all events of some users only, what `whole_of` has found in all of them.

    What is too thin to learn from is then peeled off by `core_round` until nothing more falls (`prepare.prepared`).
    """
    kept = interactions
    if config.outlier_fence is not None:
        bots = outliers(interactions, config.outlier_fence, whole).select("user_id")
        kept = interactions.join(bots, "user_id", "left_anti")
    if config.preference == "explicit":
        latest = F.max_by("rating", F.struct("timestamp", "event"))
        return kept.where("rating IS NOT NULL").groupBy(*_PAIR).agg(latest.alias("preference"))
    weight = event_weight(config)
    if config.half_life_days is not None:
        if whole is None:
            kept = kept.crossJoin(F.broadcast(present(kept)))
        else:
            kept = kept.withColumn("present", F.lit(whole.present).cast("double"))
        age = (F.col("present") - F.col("timestamp").cast("double")) / F.lit(_DAY)
        aged = weight * F.pow(F.lit(2.0), -F.greatest(age, F.lit(0.0)) / F.lit(config.half_life_days))
        # However old, it is more than nothing, also as a decimal (see `liking`).
        weight = F.when(weight > 0, F.greatest(aged, F.lit(1e-12))).otherwise(aged)
    capped = F.least(liking(weight), F.lit(config.max_weight))
    return kept.groupBy(*_PAIR).agg(capped.alias("preference")).where("preference > 0")


def present(interactions: DataFrame) -> DataFrame:
    """One row `present` (double, seconds since 1970): the first moment that 99.9 % of the rows do not lie behind.

    The latest row of all may come from a clock that runs ahead, and would make everything else old. The quantile is
    exact, so that repeated runs agree; one executor holds about 50 bytes for each distinct second of the log.
    """
    quantile = F.expr("percentile_disc(0.999) WITHIN GROUP (ORDER BY unix_seconds(timestamp))")
    return interactions.agg(quantile.cast("double").alias("present"))


def event_weight(config: AlsConfig) -> Column:
    """What each row of table `interactions` weighs in a preference: that of its type in `config.events`, or its own."""
    if not config.events:
        return F.col("weight")
    named = F.create_map(*(F.lit(part) for pair in sorted(config.events.items()) for part in pair))
    return F.when(F.col("weight") == 0, 0.0).otherwise(F.coalesce(named[F.col("event")], F.col("weight")))


def outliers(interactions: DataFrame, fence: float, whole: Whole | None = None) -> DataFrame:
    """`user_id`, `events` (long) of users who act so much more than others that they are taken for programs.

    Tukey's rule on the logarithm of the number of events, whose distribution over users is near to symmetric: above
    Q3 + `fence` · max(Q3 − Q1, ln 2), with the quartiles over all users (Tukey 1977, "Exploratory Data Analysis"; 3 is
    his "far out"). Where most users have the same number of events the quartiles are no spread to go by; a factor of 2
    is then taken for one.
    """
    counts = _events_by_user(interactions)
    if whole is None:
        limit = counts.agg(_far(fence).alias("_most"))
        counts = counts.crossJoin(F.broadcast(limit))
    else:
        counts = counts.withColumn("_most", F.lit(whole.most).cast("double"))
    return counts.where(_log_events() > F.col("_most")).select("user_id", "events")


def _events_by_user(interactions: DataFrame) -> DataFrame:
    return interactions.groupBy("user_id").agg(F.count(F.lit(1)).alias("events"))


def _log_events() -> Column:
    return F.log(F.col("events").cast("double"))


def _far(fence: float) -> Column:
    """An aggregate over users: the logarithm of the number of events that is far out; null without users."""
    quartiles = F.percentile(_log_events(), F.array(F.lit(0.25), F.lit(0.75)))
    low, high = quartiles[0], quartiles[1]
    return high + F.lit(fence) * F.greatest(high - low, F.lit(_LEAST_SPREAD))


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
