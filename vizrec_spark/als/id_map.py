"""Integers for string ids: MLlib's ALS takes ints only, and an id keeps its int for ever."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from vizrec_spark.errors import TableError

_BUCKETS = 4096
LARGEST_INDEX = 2**31 - 1
"""The largest number that MLlib takes for an id."""


def require_room(ids: DataFrame, id_map: DataFrame) -> None:
    """Checks that the new ones of `ids` (`kind`, `id`) get numbers that are still ints. Runs a Spark job.

    Raises: TableError naming the kind that has no room; MLlib takes ints only.
    """
    new = ids.distinct().join(id_map, ["kind", "id"], "left_anti").groupBy("kind").count()
    taken = id_map.groupBy("kind").agg((F.max("index").cast("long") + 1).alias("taken"))
    for row in new.join(taken, "kind", "left").collect():
        if row["count"] + (row.taken or 0) > LARGEST_INDEX + 1:
            raise TableError(
                f"Table id_map has {row.taken or 0:,} {row.kind} ids and {row['count']:,} new ones come: more than the "
                f"{LARGEST_INDEX + 1:,} that MLlib's ints can number. Leave out users or items (als.min_user_items, "
                "als.min_item_users), or start an id map of its own in another `tables.root`."
            )


def new_ids(ids: DataFrame, id_map: DataFrame) -> DataFrame:
    """Rows to append to table `id_map`: `kind`, `id`, `index` for each of `ids` (`kind`, `id`) it lacks.

    Indices continue after the largest of their kind, without a gap. They depend only on the two tables:
    new ids are laid out by a hash bucket and, in it, by id, so that no task has to sort them all.
    """
    new = (
        ids.distinct()
        .join(id_map, ["kind", "id"], "left_anti")
        .withColumn("_bucket", F.pmod(F.xxhash64("id"), F.lit(_BUCKETS)))
    )
    before = Window.partitionBy("kind").orderBy("_bucket").rowsBetween(Window.unboundedPreceding, -1)
    sizes = new.groupBy("kind", "_bucket").count()
    starts = sizes.select(
        "kind", "_bucket", F.coalesce(F.sum("count").over(before), F.lit(0)).alias("_start")
    )
    taken = id_map.groupBy("kind").agg((F.max("index") + 1).alias("_taken"))
    place = F.row_number().over(Window.partitionBy("kind", "_bucket").orderBy("id")) - 1
    return (
        new.withColumn("_place", place)
        .join(F.broadcast(starts), ["kind", "_bucket"])
        .join(F.broadcast(taken), "kind", "left")
        .select(
            "kind",
            "id",
            (F.coalesce("_taken", F.lit(0)) + F.col("_start") + F.col("_place")).cast("int").alias("index"),
        )
    )


def indexed(preferences: DataFrame, id_map: DataFrame) -> DataFrame:
    """`preferences` with `user` and `item` (int) beside `preference` (float), as MLlib wants them."""
    users = id_map.where("kind = 'user'").select(F.col("id").alias("user_id"), F.col("index").alias("user"))
    items = id_map.where("kind = 'item'").select(F.col("id").alias("item_id"), F.col("index").alias("item"))
    return (
        preferences.join(users, "user_id")
        .join(items, "item_id")
        .select("user", "item", F.col("preference").cast("float").alias("preference"))
    )
