"""Split at two moments that hold for everybody: nothing from the future of anyone is ever known."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.evaluate.splits.parts import PART, TEST, TRAIN, VALIDATION


def global_time(interactions: DataFrame, *, validation_from: datetime, test_from: datetime) -> DataFrame:
    """`interactions` (`timestamp` and any more) with column `part`: rows before `validation_from` are for
    training, those before `test_from` for validation, and the rest for test.

    Raises: ValueError unless `validation_from` is at most `test_from`.
    """
    if validation_from > test_from:
        raise ValueError(f"validation_from {validation_from} lies behind test_from {test_from}")
    part = (
        F.when(F.col("timestamp") < F.lit(validation_from), TRAIN)
        .when(F.col("timestamp") < F.lit(test_from), VALIDATION)
        .otherwise(TEST)
    )
    return interactions.withColumn(PART, part)


def time_limits(interactions: DataFrame, *, test_share: float, validation_share: float) -> DataFrame:
    """One row for `global_time`: `validation_from` and `test_from` (timestamps), so that about `test_share` of the
    rows are for test and `validation_share` for validation.

    The moments are exact quantiles (a moment of the log each), which costs one executor about 50 bytes for each
    distinct second of the log. Rows of one moment stay together, so the shares are met as well as ties allow.
    """
    seconds = F.unix_timestamp("timestamp")
    ends = F.percentile(seconds, F.array(F.lit(1 - test_share - validation_share), F.lit(1 - test_share)))
    row = interactions.agg(ends.alias("ends"))
    return row.select(
        F.timestamp_seconds(F.ceil(F.col("ends")[0])).alias("validation_from"),
        F.timestamp_seconds(F.ceil(F.col("ends")[1])).alias("test_from"),
    )
