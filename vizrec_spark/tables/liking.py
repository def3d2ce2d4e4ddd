"""How much all that a user did with an item says that they like it."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F


def liking(weight: Column | None = None) -> Column:
    """An aggregate over the rows of table `interactions` of one user and one item: double, 0 or more.

    The sum of their weights (or of `weight`, in its place), or 0 if the latest rating among them is a low one
    (weight 0): who bought an item and then rated it badly does not want more of it.
    """
    rated = F.col("rating").isNotNull()
    verdict = F.max_by(F.when(rated, F.col("weight")), F.when(rated, F.struct("timestamp", "event")))
    # Decimals add up the same in any order; a repeated run must not differ in the last bit.
    total = F.sum((F.col("weight") if weight is None else weight).cast("decimal(28,12)")).cast("double")
    return F.when(verdict == 0, F.lit(0.0)).otherwise(total)
