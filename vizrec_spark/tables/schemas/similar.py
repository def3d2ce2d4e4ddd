"""Contracts of what stage `similar` writes."""

from __future__ import annotations

from pyspark.sql.types import StructType

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
            column("method", STRING, "`exact` or `lsh`."),
            column("n_items", LONG, "Items compared."),
            column("k", INT, "Neighbours asked for."),
            column(
                "recall",
                DOUBLE,
                "Share of the exact k nearest that were found, on a sample of items (0 to 1).",
            ),
            column("recall_lo", DOUBLE, "Lower end of its 95 % interval."),
            column("recall_hi", DOUBLE, "Upper end of its 95 % interval."),
            column("n_queries", INT, "Size of that sample."),
            column("candidates_per_item", DOUBLE, "Mean number of vectors that an item was compared with."),
            column("max_bucket_share", DOUBLE, "Largest LSH bucket as a share of all items; 1 for `exact`."),
            column("n_split_buckets", LONG, "Buckets above the cap, which were split."),
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
)
