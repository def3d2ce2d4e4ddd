"""Which pictures an encoder has not seen yet."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def missing_keys(images: DataFrame, embeddings: DataFrame, encoder_id: str) -> DataFrame:
    """One image a content hash that has no embedding under `encoder_id`.

    images: item_id, path, sha256 (other columns are not read). embeddings: sha256, encoder_id.
    Returns sha256 string, item_id string, path string: the same bytes under several items come once, by the
    least (item_id, path).
    """
    done = embeddings.where(F.col("encoder_id") == encoder_id).select("sha256")
    return (
        images.select("sha256", F.struct("item_id", "path").alias("key"))
        .join(done, "sha256", "left_anti")
        .groupBy("sha256")
        .agg(F.min("key").alias("key"))
        .select("sha256", "key.item_id", "key.path")
    )


def missing_images(
    images: DataFrame,
    embeddings: DataFrame,
    encoder_id: str,
    *,
    num_partitions: int,
    broadcast_keys: bool = False,
) -> DataFrame:
    """The contents behind `missing_keys`, spread over `num_partitions` partitions.

    images: item_id, path, sha256, content, key (item_id, path). Returns sha256 string, content binary.
    Only hashes and keys are compared and grouped. Contents are read once and moved once, to spread the work,
    where the keys are few enough to be broadcast: Spark decides by its own estimate, which is far too high
    after an anti-join, so a caller that has counted them can say so with `broadcast_keys`.
    """
    keys = missing_keys(images, embeddings, encoder_id)
    if broadcast_keys:
        keys = F.broadcast(keys)
    return (
        images.select("item_id", "path", "sha256", "content")
        .join(keys, ["item_id", "path", "sha256"], "left_semi")
        .select("sha256", "content")
        # By hash, not round-robin: Spark would sort whole rows, contents too, to make that repeatable.
        .repartition(num_partitions, "sha256")
    )
