"""One vector an item, from the embeddings of its pictures."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def item_pictures(images: DataFrame, embeddings: DataFrame) -> DataFrame:
    """`item_id`, `pictures` (how many have an embedding), `named` (array of path, sha256; in order of path).

    `images` (item_id, path, sha256) and `embeddings` (sha256) of one encoder. Items whose pictures have no embedding
    are left out. Some 200 bytes a picture, and asked for more than once: worth to be persisted.
    """
    known = images.select("item_id", "path", "sha256").join(embeddings.select("sha256"), "sha256")
    return known.groupBy("item_id").agg(
        F.count(F.lit(1)).alias("pictures"),
        F.sort_array(F.collect_list(F.struct("path", "sha256"))).alias("named"),
    )


def item_vectors(pictured: DataFrame, embeddings: DataFrame, *, broadcast: bool = False) -> DataFrame:
    """`item_id`, `vector` (array<float>): the mean of its pictures' vectors.

    `pictured`: what `item_pictures` gives; `embeddings` (sha256, vector) of the same encoder. Only the vectors of items
    with several pictures are shuffled for their mean; `broadcast` ships the names of pictures to every executor, which
    spares the others the shuffle of the join as well.
    """
    single = pictured.where("pictures = 1").select("item_id", F.col("named")[0]["sha256"].alias("sha256"))
    several = pictured.where("pictures > 1").select(
        "item_id", F.posexplode("named").alias("place", "picture")
    )
    several = several.select("item_id", "place", F.col("picture")["sha256"].alias("sha256"))
    if broadcast:
        single, several = F.broadcast(single), F.broadcast(several)
    vectors = embeddings.select("sha256", "vector")
    # In order of path, so that the sum of an item with several pictures is the same in every run.
    gathered = F.array_sort(F.collect_list(F.struct("place", "vector")))
    means = several.join(vectors, "sha256").groupBy("item_id").agg(gathered.alias("pictures"))
    return (
        vectors.join(single, "sha256")
        .select("item_id", "vector")
        .unionByName(means.select("item_id", _mean().alias("vector")))
    )


def item_contents(pictured: DataFrame) -> DataFrame:
    """`item_id`, `content`: what an item's vector is made of, as SHA-256 of its pictures' SHA-256s in order of path.

    `pictured`: what `item_pictures` gives.
    """
    content = F.sha2(F.concat_ws(",", F.col("named")["sha256"]), 256)
    return pictured.select("item_id", content.alias("content"))


def _mean() -> Column:
    vectors = F.transform("pictures", lambda p: p["vector"].cast("array<double>"))
    zero = F.transform(vectors[0], lambda _: F.lit(0.0))
    total = F.aggregate(vectors, zero, lambda a, b: F.zip_with(a, b, lambda x, y: x + y))
    return F.transform(total, lambda x: (x / F.size("pictures")).cast("float"))
