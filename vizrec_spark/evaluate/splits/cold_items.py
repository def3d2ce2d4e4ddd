"""Cold items: some items lose all that was ever done with them, as if they had come into the shop today."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from vizrec_spark.evaluate.splits.parts import PART, TEST, TRAIN, VALIDATION


def cold_items(
    interactions: DataFrame, *, share: float = 0.1, validation_share: float = 0.0, seed: int = 0
) -> DataFrame:
    """`interactions` (`item_id` and any more) with column `part`: all rows of `share` of the items (rounded, one at
    least) are for test, those of `validation_share` of them (rounded) for validation, and those of the others, one
    at least, for training. Of a single item all rows are for training.

    The items are drawn by a hash of id and `seed`: the same ones for test however the rows are laid out, and whatever
    the share for validation. The ids of all items are sorted in one task (about 100 bytes an item).

    Raises: ValueError when the shares do not leave anything for training.
    """
    if not (share > 0 and validation_share >= 0 and share + validation_share < 1):
        raise ValueError(f"share {share} and validation_share {validation_share}: sum must be below 1")
    items = interactions.select("item_id").distinct()
    lot = Window.partitionBy(F.lit(0)).orderBy(F.xxhash64(F.lit(seed), "item_id"), "item_id")
    n, most = F.col("_n"), F.col("_n") - 1
    n_test = F.least(F.greatest(F.round(F.lit(share) * n), F.lit(1)), most)
    n_both = F.least(n_test + F.round(F.lit(validation_share) * n), most)
    part = F.when(F.col("_place") <= n_test, TEST).when(F.col("_place") <= n_both, VALIDATION)
    drawn = (
        items.select(
            "item_id",
            F.row_number().over(lot).alias("_place"),
            F.count(F.lit(1)).over(Window.partitionBy(F.lit(0))).alias("_n"),
        )
        .select("item_id", part.alias(PART))
        .where(F.col(PART).isNotNull())
    )
    own = F.coalesce(PART, F.lit(TRAIN)).alias(PART)
    return interactions.join(drawn, "item_id", "left").select(*interactions.columns, own)
