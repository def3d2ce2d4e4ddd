"""Cold items: some items lose all that was ever done with them, as if they had come into the shop today."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from vizrec_spark.evaluate.splits.parts import PART, TEST, TRAIN


def cold_items(interactions: DataFrame, *, share: float = 0.1, seed: int = 0) -> DataFrame:
    """`interactions` (`item_id` and any more) with column `part`: all rows of `share` of the items (rounded, one at
    least) are for test, all others for training.

    The items are drawn by a hash of id and `seed`: the same ones however the rows are laid out. The ids of all
    items are sorted in one task (about 100 bytes an item).

    Raises: ValueError for a share outside 0 to 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, got {share}")
    items = interactions.select("item_id").distinct()
    lot = Window.partitionBy(F.lit(0)).orderBy(F.xxhash64(F.lit(seed), "item_id"), "item_id")
    every = Window.partitionBy(F.lit(0))
    drawn = items.select(
        "item_id",
        F.row_number().over(lot).alias("_place"),
        F.greatest(F.round(F.lit(share) * F.count(F.lit(1)).over(every)), F.lit(1)).alias("_n"),
    ).where("_place <= _n")
    cold = drawn.select("item_id", F.lit(True).alias("_cold"))
    part = F.when(F.col("_cold"), TEST).otherwise(TRAIN)
    return interactions.join(cold, "item_id", "left").select(*interactions.columns, part.alias(PART))
