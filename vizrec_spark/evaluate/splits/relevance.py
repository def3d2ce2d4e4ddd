"""What there is to find after a split, and for how many users."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.errors import TooFewUsers
from vizrec_spark.evaluate.splits.parts import TEST, known_before_test, part_of
from vizrec_spark.tables.liking import liking


def relevant_items(split: DataFrame, *, liked: bool = False) -> DataFrame:
    """`user_id`, `item_id`, each pair once: what a user met in the test part and had never met before.

    Items that a user knows already are not recommended to them, so to find those again is no merit. With `liked` only
    what they liked there (`liking` above 0: a low rating is nothing to be found).
    """
    pair = ["user_id", "item_id"]
    test = part_of(split, TEST)
    if liked:
        met = test.groupBy(*pair).agg(liking().alias("_liking")).where("_liking > 0").select(*pair)
    else:
        met = test.select(*pair).distinct()
    return met.join(known_before_test(split).select(*pair), pair, "left_anti")


def require_users(relevant: DataFrame, at_least: int, protocol: str) -> int:
    """The number of users in `relevant` (`user_id`); an action.

    Raises: TooFewUsers when there are fewer than `at_least`, for then no figure would mean anything.
    """
    found = relevant.agg(F.count_distinct("user_id").alias("n")).collect()[0].n
    if found < at_least:
        raise TooFewUsers(
            f"The split {protocol!r} leaves {found:,} users with something new to find in the test part; at least "
            f"{at_least:,} are needed for figures that mean something. Give it a longer log, a larger share for "
            "the test, a smaller evaluate.min_interactions, or set evaluate.min_users lower."
        )
    return int(found)
