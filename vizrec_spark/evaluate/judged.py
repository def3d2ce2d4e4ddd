"""What each evaluated user knew, met afterwards and was offered, brought together in one row a user."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F


def ranked_lists(recommendations: DataFrame, depth: int) -> DataFrame:
    """`user_id`, `items` (array<string>, best first): the first `depth` ranks of rows `user_id`, `rank`, `item_id`."""
    entries = F.array_sort(F.collect_list(F.struct("rank", "item_id")))
    grouped = recommendations.where(F.col("rank") <= depth).groupBy("user_id").agg(entries.alias("_entries"))
    return grouped.select("user_id", F.col("_entries.item_id").alias("items"))


def among(recommendations: DataFrame, candidates: DataFrame) -> DataFrame:
    """Rows `user_id`, `rank`, `item_id` of `candidates` (`item_id`) alone, which move up: ranks from 1 without gaps."""
    place = Window.partitionBy("user_id").orderBy("rank", "item_id")
    kept = recommendations.join(F.broadcast(candidates.select("item_id")), "item_id", "left_semi")
    return kept.select("user_id", F.row_number().over(place).alias("rank"), "item_id")


def judged_users(
    relevant: DataFrame, known: DataFrame, lists: Mapping[str, DataFrame], depth: int
) -> DataFrame:
    """One row a user of `relevant`: `user_id`, `relevant`, `known` (array<string>) and `lists` (array of
    array<string>, best first), which has the first `depth` of each model in the order of `lists`.

    relevant and known: `user_id`, `item_id`. lists: for each model `user_id`, `rank`, `item_id`, or `user_id` and
    `items` (array<string>, best first). A user whom a model offers nothing has an empty list and counts as one
    who found nothing: a model must not win by leaving out the hard ones.
    """
    users = relevant.groupBy("user_id").agg(F.array_sort(F.collect_set("item_id")).alias("relevant"))
    before = known.groupBy("user_id").agg(F.array_sort(F.collect_set("item_id")).alias("known"))
    nothing = F.array().cast("array<string>")
    rows = users.join(before, "user_id", "left")
    names = [f"_list_{i}" for i in range(len(lists))]

    def with_list(rows: DataFrame, named: tuple[str, DataFrame]) -> DataFrame:
        name, frame = named
        ranked = (
            frame.select("user_id", F.slice("items", 1, depth).alias("items"))
            if "items" in frame.columns
            else ranked_lists(frame, depth)
        )
        return rows.join(ranked.withColumnRenamed("items", name), "user_id", "left")

    rows = reduce(with_list, zip(names, lists.values(), strict=True), rows)
    return rows.select(
        "user_id",
        "relevant",
        F.coalesce("known", nothing).alias("known"),
        F.array(*(F.coalesce(name, nothing) for name in names)).alias("lists"),
    )
