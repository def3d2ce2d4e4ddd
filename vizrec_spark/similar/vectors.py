"""One vector an item, from the embeddings of its pictures."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def item_vectors(images: DataFrame, embeddings: DataFrame) -> DataFrame:
    """`item_id`, `vector` (array<float>): the mean of its pictures' vectors.

    `images` (item_id, path, sha256) and `embeddings` (sha256, vector) of one encoder. Items whose pictures have
    no embedding are left out.
    """
    pictures = images.select("item_id", "path", "sha256").join(
        embeddings.select("sha256", "vector"), "sha256"
    )
    # In order of path, so that the sum of an item with several pictures is the same in every run.
    gathered = F.array_sort(F.collect_list(F.struct("path", "vector")))
    grouped = pictures.groupBy("item_id").agg(gathered.alias("pictures"))
    first = F.col("pictures")[0]["vector"]
    return grouped.select(
        "item_id", F.when(F.size("pictures") == 1, first).otherwise(_mean()).alias("vector")
    )


def _mean() -> Column:
    vectors = F.transform("pictures", lambda p: p["vector"].cast("array<double>"))
    zero = F.transform(vectors[0], lambda _: F.lit(0.0))
    total = F.aggregate(vectors, zero, lambda a, b: F.zip_with(a, b, lambda x, y: x + y))
    return F.transform(total, lambda x: (x / F.size("pictures")).cast("float"))
