"""Leave-last-out: the last thing that each user did is what has to be found."""

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
)


def leave_last_out(interactions: DataFrame, *, min_interactions: int = 3) -> DataFrame:
    """`interactions` (`user_id`, `item_id`, `timestamp`, any more) with column `part`.

    Of each user with at least `min_interactions` rows (3 or more), the last is for test and the one before it for
    validation; everything else is for training.

    Raises: ValueError for a `min_interactions` below 3, which would leave users without training.
    """
    if min_interactions < 3:
        raise ValueError(f"min_interactions must be at least 3, got {min_interactions}")
    part = (
        F.when((F.col("_n") < min_interactions) | (F.col("_place") > 2), TRAIN)
        .when(F.col("_place") == 2, VALIDATION)
        .otherwise(TEST)
    )
    placed = interactions.withColumns({"_n": rows_of_user(), "_place": place_from_the_end(interactions)})
    return placed.withColumn(PART, part).drop("_n", "_place")
