"""The parts of a split, as values of one column, so that a row stands in exactly one of them."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

PART = "part"
TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = (TRAIN, VALIDATION, TEST)

_TIES = ("timestamp", "item_id", "event")


def part_of(split: DataFrame, *parts: str) -> DataFrame:
    """The rows of `parts`, without the column `part`."""
    return split.where(F.col(PART).isin(*parts)).drop(PART)


def known_before_test(split: DataFrame) -> DataFrame:
    """What a model may know that is tested: the rows of training and validation, without the column `part`."""
    return part_of(split, TRAIN, VALIDATION)


def place_from_the_end(interactions: DataFrame) -> Column:
    """1 for the last row of each user, 2 for the one before, and so on.

    Rows of one moment are put in order by `item_id` and, where there is one, `event`: the key of table
    `interactions`, so that the order is the same however the rows came.
    """
    keys = [name for name in _TIES if name in interactions.columns]
    return F.row_number().over(Window.partitionBy("user_id").orderBy(*(F.desc(name) for name in keys)))


def rows_of_user() -> Column:
    """The number of rows of each row's user."""
    return F.count(F.lit(1)).over(Window.partitionBy("user_id"))


def share_of(share: float, of: Column) -> Column:
    """⌈share · of⌉ as the share is meant: 0.1 of 30 is 3, though 0.1 is a little more than a tenth in binary."""
    return F.ceil(F.lit(share) * of - F.lit(1e-9))
