"""What each user (or item) has met, beside its factors."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def with_seen(queries: DataFrame, met: DataFrame) -> DataFrame:
    """`queries` with `seen` (array<string>): the other ids that `met` pairs with theirs; null where there is none.

    Both frames share one column name, that of the id; the other column of `met` is what was seen. Pairs of `met`
    may be repeated; those of ids that `queries` lacks are dropped before they travel.
    """
    (key,) = set(queries.columns) & set(met.columns)
    (other,) = set(met.columns) - {key}
    lists = met.groupBy(key).agg(F.collect_set(other).alias("seen"))
    return queries.join(lists, key, "left")
