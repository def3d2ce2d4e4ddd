"""Chooses what the page shows: frames of a few rows, the same ones in every run on the same tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F

HISTORY, OFFERS, LOOK_ALIKES = 8, 10, 8
"""Rows shown of a shopper's history, of a shopper's recommendations, and of an item's look-alikes."""

KINDS = {
    "long": ("n_items > 0", "-n_items"),
    "cold": ("n_items = 0", "0"),
    "random": ("n_items > 0", "0"),
    "visual": ("n_items > 0 AND n_visual > 0", "-n_visual"),
    "als": ("n_items > 0 AND n_als > 0", "-n_als"),
    "new": ("n_items > 0 AND n_new > 0", "-n_new"),
    "short": ("n_items BETWEEN 1 AND 3", "n_items"),
    "popularity": ("n_items > 0 AND n_popularity > 0", "-n_popularity"),
}
"""Kinds of shopper, in the order in which `spread` serves them: who is of the kind, and who comes first (SQL)."""


def shopper_profiles(
    users: DataFrame, interactions: DataFrame, recommendations: DataFrame, top: int = OFFERS
) -> DataFrame:
    """One row a user: `user_id`, and as longs `n_items` touched, `n_events`, and of the `top` first offers how many
    come from each source (`n_als` with co-consumption, `n_visual` with attributes, `n_popularity`) and how many
    nobody has touched (`n_new`)."""
    did = interactions.groupBy("user_id").agg(
        F.count_distinct("item_id").alias("n_items"), F.count(F.lit(1)).alias("n_events")
    )
    offers = with_news(recommendations.where(F.col("rank") <= top), interactions)
    got = offers.groupBy("user_id").agg(
        *(
            F.count_if(F.col("source").isin(*sources)).alias(f"n_{sources[0]}")
            for sources in (("als", "cooccurrence"), ("visual", "attributes"), ("popularity",))
        ),
        F.count_if("is_new").alias("n_new"),
    )
    joined = users.select("user_id").join(did, "user_id", "left").join(got, "user_id", "left")
    return joined.fillna(0)


def shopper_candidates(profiles: DataFrame, n: int) -> DataFrame:
    """The first `n` of each kind: the columns of `profiles` and `kind`, `place` (from 1).

    Ties, and with them the kinds that have no order of their own, go by a hash of the id.
    """
    kinds = [F.when(F.expr(of), _struct(kind, first)) for kind, (of, first) in KINDS.items()]
    each = profiles.withColumn("of", F.explode(F.array_compact(F.array(*kinds))))
    order = Window.partitionBy("of.kind").orderBy("of.first", *_by_lot("user_id"))
    placed = each.withColumn("place", F.row_number().over(order)).where(F.col("place") <= n)
    return placed.select(*profiles.columns, F.col("of.kind").alias("kind"), "place")


def spread(candidates: Iterable[Row], n: int) -> list[Row]:
    """At most `n` rows of collected `shopper_candidates`, no user twice: the kinds take turns, each giving its
    first user who is not yet chosen."""
    queues: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    for row in sorted(candidates, key=lambda row: row.place):
        queues[row.kind].append(row)
    chosen: dict[str, Row] = {}
    while len(chosen) < n and any(queues.values()):
        for queue in queues.values():
            while queue and queue[0].user_id in chosen:
                queue.pop(0)
            if queue and len(chosen) < n:
                row = queue.pop(0)
                chosen[row.user_id] = row
    return list(chosen.values())


def histories(interactions: DataFrame, user_ids: Sequence[str], top: int = HISTORY) -> DataFrame:
    """The `top` items that each of `user_ids` touched last: `user_id`, `place` (1 for the latest), `item_id`, `event`
    (the one of most weight), `rating` (the latest), `seconds` (of the last event, since 1970)."""
    touched = (
        interactions.where(F.col("user_id").isin(*user_ids))
        .groupBy("user_id", "item_id")
        .agg(
            F.max_by("event", F.struct("weight", "event")).alias("event"),
            F.max_by("rating", F.when(F.col("rating").isNotNull(), F.struct("timestamp", "rating"))).alias(
                "rating"
            ),
            F.max(F.col("timestamp").cast("double")).alias("seconds"),
        )
    )
    order = Window.partitionBy("user_id").orderBy(F.desc("seconds"), "item_id")
    return touched.withColumn("place", F.row_number().over(order)).where(F.col("place") <= top)


def offers(
    recommendations: DataFrame, interactions: DataFrame, user_ids: Sequence[str], top: int = OFFERS
) -> DataFrame:
    """The `top` first recommendations of each of `user_ids`: the columns of `recommendations` and `is_new`."""
    few = recommendations.where(F.col("user_id").isin(*user_ids) & (F.col("rank") <= top))
    return with_news(few, interactions)


def with_news(recommendations: DataFrame, interactions: DataFrame) -> DataFrame:
    """`recommendations` with `is_new` boolean: nobody has touched the item."""
    touched = interactions.select("item_id").distinct().withColumn("touched", F.lit(True))
    known = recommendations.join(touched, "item_id", "left")
    return known.withColumn("is_new", F.col("touched").isNull()).drop("touched")


def showcase_items(neighbors: DataFrame, items: DataFrame, n: int) -> DataFrame:
    """`n` items that have look-alikes, as many different first categories as there are: `item_id`, `order` (from 1).

    The order, and who stands for a category, go by a hash of the id.
    """
    first = F.coalesce(F.try_element_at("categories", F.lit(1)), F.lit(""))
    able = (
        neighbors.where(F.col("rank") == 1)
        .select("item_id")
        .join(items.select("item_id", first.alias("of")), "item_id")
    )
    within = Window.partitionBy("of").orderBy(*_by_lot("item_id"))
    placed = able.withColumn("place", F.row_number().over(within)).where(F.col("place") <= n)
    few = placed.orderBy("place", *_by_lot("item_id")).limit(n)
    return few.select(
        "item_id", F.row_number().over(Window.orderBy("place", *_by_lot("item_id"))).alias("order")
    )


def look_alikes(neighbors: DataFrame, shown: DataFrame, top: int = LOOK_ALIKES) -> DataFrame:
    """The `top` nearest of each of `shown` (item_id, order): `order`, `item_id`, `rank`, `neighbor_id`, `cosine`,
    `distance`."""
    near = neighbors.where(F.col("rank") <= top)
    return near.join(F.broadcast(shown), "item_id").select(
        "order", "item_id", "rank", "neighbor_id", "cosine", "distance"
    )


def item_details(items: DataFrame, item_ids: Sequence[str]) -> DataFrame:
    """`item_id`, `title`, `categories`, `attributes` of `item_ids`."""
    return items.select("item_id", "title", "categories", "attributes").join(
        with_ids(items, item_ids), "item_id"
    )


def with_ids(like: DataFrame, item_ids: Sequence[str]) -> DataFrame:
    """`item_id` of each of `item_ids`, to be joined to `like`."""
    ids = sorted(set(item_ids))
    return F.broadcast(like.sparkSession.createDataFrame([(i,) for i in ids], "item_id string"))


def _struct(kind: str, first: str) -> Column:
    return F.struct(F.lit(kind).alias("kind"), F.expr(first).cast("long").alias("first"))


def _by_lot(column: str) -> tuple[Column, Column]:
    return F.xxhash64(column), F.col(column)
