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
            column("n_queries", INT, "Size of that sample."),
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
