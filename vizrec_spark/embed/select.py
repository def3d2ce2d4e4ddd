"""Which pictures an encoder has not seen yet, and their bytes."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

_KEY = ("item_id", "path")
_CARRIED = ("file", "bytes")


def missing_keys(images: DataFrame, embeddings: DataFrame, encoder_id: str) -> DataFrame:
    """One image a content hash that has no embedding under `encoder_id`.

    images: item_id, path, sha256 (other columns are not read). embeddings: sha256, encoder_id.
    Returns sha256 string, item_id string, path string: the same bytes under several items come once, by the
    least (item_id, path). Where `images` has them, also `file` (the data file of the table that holds the row) and
    `bytes`.
    """
    fields = [*_KEY, *(name for name in _CARRIED if name in images.columns)]
    done = embeddings.where(F.col("encoder_id") == encoder_id).select("sha256")
    return (
        images.select("sha256", F.struct(*fields).alias("key"))
        .join(done, "sha256", "left_anti")
        .groupBy("sha256")
        .agg(F.min("key").alias("key"))
        .select("sha256", *(f"key.{name}" for name in fields))
    )


def contents(
    images: DataFrame, keys: DataFrame, *, num_partitions: int, broadcast_keys: bool = False
) -> DataFrame:
    """The bytes behind `keys` (sha256, item_id, path), spread over `num_partitions` partitions.

    images: item_id, path, sha256, content, and `file` where `keys` has it; one row for each of these keys. Returns
    sha256 string, content binary.
    Only keys are compared. Contents are read once and moved once, to spread the work, where the keys are few enough
    to be broadcast: Spark decides by its own estimate, which is far too high after an anti-join, so a caller that
    has counted them can say so with `broadcast_keys`.
    """
    on = [*_KEY, "sha256", *(name for name in ("file",) if name in keys.columns)]
    wanted = keys.select(*on)
    if broadcast_keys:
        wanted = F.broadcast(wanted)
    return (
        images.select(*on, "content")
        .join(wanted, on, "left_semi")
        .select("sha256", "content")
        # By hash, not round-robin: Spark would sort whole rows, contents too, to make that repeatable.
        .repartition(num_partitions, "sha256")
    )
