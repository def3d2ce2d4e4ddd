"""Leaks: signs that a model knew what it is tested on."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.errors import LeakFound
from vizrec_spark.evaluate.splits.parts import PART, TEST, known_before_test

_KEY = ("user_id", "item_id", "event", "timestamp")


def leaked_interactions(seen: DataFrame, split: DataFrame) -> DataFrame:
    """The rows of `seen`, what a model learned from, that stand in the test part of `split`; its key columns.

    Both have `user_id`, `item_id` and whichever of `event` and `timestamp` they share.
    """
    key = [name for name in _KEY if name in seen.columns and name in split.columns]
    test = split.where(F.col(PART) == TEST).select(*key)
    return seen.select(*key).join(test, key, "left_semi")


def leaked_counts(counts: DataFrame, split: DataFrame, column: str = "people") -> DataFrame:
    """Items of whom a feature counts more users than there were before the test.

    `counts` (`item_id`, `column`): distinct users an item, as popularity features have it. Returns `item_id`,
    `claimed` and `known` (both long), where `claimed` is larger.
    """
    known = known_before_test(split).groupBy("item_id").agg(F.count_distinct("user_id").alias("known"))
    claimed = counts.select("item_id", F.col(column).cast("long").alias("claimed"))
    both = claimed.join(known, "item_id", "left").withColumn("known", F.coalesce("known", F.lit(0)))
    return both.where("claimed > known")


def leaked_factors(factors: DataFrame, split: DataFrame, of: str = "item_id") -> DataFrame:
    """Users or items (column `of`) with learned factors of whom nothing was known before the test; the ids.

    Factors that are learned from interactions alone cannot exist for them. Do not ask it of factors that are
    predicted from content.
    """
    known = known_before_test(split).select(of)
    return factors.select(of).distinct().join(known, of, "left_anti")


def refuse_leaks(model: str, **leaks: DataFrame) -> None:
    """Looks at each frame of leaked rows (an action each) and lets nothing pass.

    Raises: LeakFound that names the kind of each leak, the number of rows and an example.
    """
    told = []
    for kind, rows in leaks.items():
        example = rows.first()
        if example is not None:
            shown = ", ".join(f"{name} {value}" for name, value in example.asDict().items())
            told.append(f"{rows.count():,} {kind} (one is {shown})")
    if told:
        raise LeakFound(
            f"Model {model!r} has seen what it is tested on: {'; '.join(told)}. Train it, and compute its features, "
            "on the training window alone."
        )
