"""Split of each user's own history by time: what they did last is what has to be found."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.evaluate.splits.parts import (
    PART,
    TEST,
    TRAIN,
    VALIDATION,
    place_from_the_end,
    rows_of_user,
    share_of,
)


def user_time(
    interactions: DataFrame,
    *,
    test_share: float = 0.2,
    validation_share: float = 0.1,
    min_interactions: int = 5,
) -> DataFrame:
    """`interactions` (`user_id`, `item_id`, `timestamp`, any more) with column `part`.

    Of each user with at least `min_interactions` rows, the last ⌈test_share · n⌉ are for test, the
    ⌈validation_share · n⌉ before those for validation, the rest, one row at least, for training; other users' rows
    are all for training. A model may so see what others did later than a user's test rows: `global_time` does not
    allow it, and leaves far fewer users with anything to learn from.

    Raises: ValueError when the shares do not leave anything for training.
    """
    if not (test_share > 0 and validation_share >= 0 and test_share + validation_share < 1):
        raise ValueError(
            f"test_share {test_share} and validation_share {validation_share}: sum must be below 1"
        )
    most = F.col("_n") - 1
    n_test = F.least(share_of(test_share, F.col("_n")), most)
    n_both = F.least(n_test + share_of(validation_share, F.col("_n")), most)
    part = (
        F.when((F.col("_n") < min_interactions) | (F.col("_place") > n_both), TRAIN)
        .when(F.col("_place") > n_test, VALIDATION)
        .otherwise(TEST)
    )
    placed = interactions.withColumns({"_n": rows_of_user(), "_place": place_from_the_end(interactions)})
    return placed.withColumn(PART, part).drop("_n", "_place")
