"""Contracts of what stage `similar` writes."""

from __future__ import annotations

from pyspark.sql.types import ArrayType, StructType

from vizrec_spark.tables.contract import Table, column
from vizrec_spark.tables.schemas.types import AMOUNT, DOUBLE, FLOAT, INT, LONG, STRING

ITEM_NEIGHBORS = Table(
    "item_neighbors",
    "similar",
    "Look-alikes: the items nearest to each item that has a picture.",
    StructType(
        [
            column("encoder_id", STRING, "The encoder whose vectors were compared."),
            column("item_id", STRING, "The item asked about."),
            column("rank", INT, "1 for the nearest."),
            column("neighbor_id", STRING, "The look-alike; never the item itself."),
            column("cosine", FLOAT, "Cosine of the two vectors, -1 to 1; 0 where one of them is zero."),
            column("distance", FLOAT, "Euclidean distance of the two vectors, at least 0."),
        ]
    ),
    ("encoder_id", "item_id", "rank"),
    {
        "rank_from_one": "rank >= 1",
        "not_itself": "item_id <> neighbor_id",
        "cosine_range": "cosine BETWEEN -1.0001 AND 1.0001",
        "distance_range": AMOUNT.format("distance"),
    },
    partition_by=("encoder_id",),
)

SIMILARITY_QUALITY = Table(
    "similarity_quality",
    "similar",
    "How good the look-alikes of each encoder are: one row for the published run.",
    StructType(
        [
            column("encoder_id", STRING, "The encoder whose vectors were compared."),
            column("method", STRING, "`exact`, `flat`, `cells` or `lsh`."),
            column("plan", STRING, "`shared` or `partitioned`."),
            column("setting", STRING, "The method's setting, in words."),
            column("metric", STRING, "`cosine` or `euclidean`."),
            column(
                "fingerprint",
                STRING,
                "Hash of all settings; lists of another one are not updated but made anew.",
            ),
            column("n_items", LONG, "Items compared."),
            column(
                "n_searched",
                LONG,
                "Items whose lists this run made by search; the others were kept or merged.",
            ),
            column("k", INT, "Neighbours asked for."),
            column("target_recall", DOUBLE, "The recall asked for (0 to 1)."),
            column(
                "recall",
                DOUBLE,
                "Share of the exact k nearest that were found, on a sample of items (0 to 1).",
            ),
            column("recall_lo", DOUBLE, "Lower end of its 95 % interval."),
            column("recall_hi", DOUBLE, "Upper end of its 95 % interval."),
            column(
                "n_queries",
                INT,
                "Size of that sample; 0 where nothing is measured: all pairs were compared, or filters leave nobody a "
                "look-alike.",
            ),
            column("candidates_per_item", DOUBLE, "Mean number of vectors that an item was compared with."),
            column("n_reranked", INT, "Candidates of an item that were scored at full dimension."),
            column("n_buckets", LONG, "Cells or buckets that hold an item."),
            column(
                "bucket_histogram",
                ArrayType(LONG),
                "Buckets by size: entry i counts those of 2^i to 2^(i+1) − 1 items.",
            ),
            column("bucket_skew", DOUBLE, "Mean size of an item's bucket over the mean bucket, at least 1."),
            column(
                "max_bucket_share",
                DOUBLE,
                "Largest bucket as a share of all items; 1 for `exact` and `flat`.",
            ),
            column("n_split_buckets", LONG, "Buckets above the cap, which were split."),
            column(
                "n_cut_pairs", LONG, "Pairs of a bucket that its splitting keeps apart, summed over tables."
            ),
            column(
                "mean_cosine",
                DOUBLE,
                "Mean cosine of two different items, at least 0; 0 for fewer than three items.",
            ),
        ]
    ),
    ("encoder_id",),
    {"recall_share": "0 <= recall_lo AND recall_lo <= recall AND recall <= recall_hi AND recall_hi <= 1"},
    partition_by=("encoder_id",),
    version=2,
)

COMPARED_ITEMS = Table(
    "compared_items",
    "similar",
    "The items that the published look-alikes know: what they showed then, by which a change is seen, and their looks.",
    StructType(
        [
            column("encoder_id", STRING, "The encoder whose vectors were compared."),
            column("item_id", STRING, "The item."),
            column("content", STRING, "SHA-256 of the SHA-256s of its pictures, in order of their paths."),
            column(
                "looks",
                ArrayType(FLOAT),
                "Its unit vector less the catalogue's mean, on the `similar.look_features` leading directions.",
            ),
        ]
    ),
    ("encoder_id", "item_id"),
    {"content_is_hex": "content rlike '^[0-9a-f]{64}$'"},
    partition_by=("encoder_id",),
    version=2,
)

CATEGORY_NEIGHBORS = Table(
    "category_neighbors",
    "similar",
    "The nearest look-alikes of each item within each category: every category is searched for them.",
    StructType(
        [
            column("encoder_id", STRING, "The encoder whose vectors were compared."),
            column("item_id", STRING, "The item asked about."),
            column("category", STRING, "A category of the look-alike."),
            column("rank", INT, "1 for the nearest of the category."),
            column("neighbor_id", STRING, "The look-alike; never the item itself."),
            column("cosine", FLOAT, "Cosine of the two vectors, -1 to 1; 0 where one of them is zero."),
            column("distance", FLOAT, "Euclidean distance of the two vectors, at least 0."),
        ]
    ),
    ("encoder_id", "item_id", "category", "rank"),
    {"rank_from_one": "rank >= 1", "not_itself": "item_id <> neighbor_id"},
    partition_by=("encoder_id",),
)

NEAR_DUPLICATES = Table(
    "near_duplicates",
    "similar",
    "Items that show nearly the same picture as another: alike to the encoder and in a perceptual hash.",
    StructType(
        [
            column("encoder_id", STRING, "The encoder whose vectors were compared."),
            column("item_id", STRING, "The item."),
            column("group_id", STRING, "The smallest item id of its group."),
            column("group_size", LONG, "Items of the group, at least 2."),
        ]
    ),
    ("encoder_id", "item_id"),
    {"group_of_two": "group_size >= 2"},
    partition_by=("encoder_id",),
)
