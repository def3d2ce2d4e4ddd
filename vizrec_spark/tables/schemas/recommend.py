"""Contracts of what stage `recommend` writes."""

from __future__ import annotations

from pyspark.sql.types import ArrayType, MapType, StructType

from vizrec_spark.tables.contract import Table, column
from vizrec_spark.tables.schemas.types import AMOUNT, DOUBLE, INT, STRING

RECOMMENDATIONS = Table(
    "recommendations",
    "recommend",
    "What to offer to each user, best first, with the reason.",
    StructType(
        [
            column("user_id", STRING, "The user."),
            column("rank", INT, "1 for the best."),
            column("item_id", STRING, "The item to offer."),
            column(
                "score",
                DOUBLE,
                "Sum of the parts and the boost. What only fills a list stands last, by popularity.",
            ),
            column("score_cf", DOUBLE, "What ALS adds to the score (weight included)."),
            column(
                "score_cooccurrence",
                DOUBLE,
                "What people who chose the user's items chose beside them adds.",
            ),
            column("score_visual", DOUBLE, "What the looks of the user's items add."),
            column("score_attributes", DOUBLE, "What the catalogue attributes of the user's items add."),
            column("score_popularity", DOUBLE, "What popularity, trend and newness add."),
            column("score_boost", DOUBLE, "What the configured boosts add."),
            column(
                "source",
                STRING,
                "The part that lifts it most above the user's other candidates: `als`, `cooccurrence`, `visual`, "
                "`attributes` or `popularity`.",
            ),
            column(
                "proposed_by",
                ArrayType(STRING),
                "Who proposed it: any of those, `fresh` (lately added) and `new` (nobody has met it).",
            ),
            column(
                "because_item_id",
                STRING,
                "The item in the user's history that did most for that part.",
                nullable=True,
            ),
            column(
                "because",
                MapType(STRING, STRING),
                "For each part (`cf`, `cooccurrence`, `visual`, `attributes`) the item in the user's history without "
                "which it would be least.",
            ),
            column("reason", STRING, "A sentence for the user."),
            column("model_id", STRING, "The ALS model used.", nullable=True),
            column("encoder_id", STRING, "The encoder used.", nullable=True),
        ]
    ),
    ("user_id", "rank"),
    {
        "rank_from_one": "rank >= 1",
        "parts_add_up": "abs(score - (score_cf + score_cooccurrence + score_visual + score_attributes "
        "+ score_popularity + score_boost)) < 1e-6",
        "source_known": "source IN ('als', 'cooccurrence', 'visual', 'attributes', 'popularity')",
    },
    version=2,
)

ITEM_RECOMMENDATIONS = Table(
    "item_recommendations",
    "recommend",
    "For each item what to show beside it: alternatives, and complements apart from look-alikes.",
    StructType(
        [
            column("item_id", STRING, "The item that is looked at."),
            column(
                "kind", STRING, "`alternative` (looks and co-consumption) or `complement` (chosen together)."
            ),
            column("rank", INT, "1 for the best of its kind."),
            column("other_item_id", STRING, "The item to show."),
            column("score", DOUBLE, "What ranks it, 0 to 1."),
            column("looks", DOUBLE, "Likeness of the pictures over that of a random pair, 0 to 1."),
            column("together", DOUBLE, "Cosine of co-consumption, 0 to 1."),
        ]
    ),
    ("item_id", "kind", "rank"),
    {
        "rank_from_one": "rank >= 1",
        "kind_known": "kind IN ('alternative', 'complement')",
        "not_itself": "item_id <> other_item_id",
        "score_range": AMOUNT.format("score"),
    },
)

BLEND_WEIGHTS = Table(
    "blend_weights",
    "recommend",
    "What the score is made of: the weight of each feature, how it was found, and how each feature ranks alone.",
    StructType(
        [
            column("feature", STRING, "Name of the feature; docs/hybrid.md lists them."),
            column("part", STRING, "The part of the score that it adds to."),
            column("weight", DOUBLE, "Weight on the feature divided by `scale`."),
            column(
                "weight_lo",
                DOUBLE,
                "Lower end of its 95 % interval; null where it was not learned.",
                nullable=True,
            ),
            column(
                "weight_hi",
                DOUBLE,
                "Upper end of its 95 % interval; null where it was not learned.",
                nullable=True,
            ),
            column("scale", DOUBLE, "Standard deviation of the feature over the candidates, above 0."),
            column(
                "method",
                STRING,
                "`learned`, `single` (one feature alone ranked best) or `configured` (too little data to learn).",
            ),
            column(
                "learned_share",
                DOUBLE,
                "Share of the weights that is learned; the rest is on the best feature.",
            ),
            column("half_life", DOUBLE, "Entries of a history after which recency is halved."),
            column("regularization", DOUBLE, "Of the ridge weights of co-consumption."),
            column(
                "ndcg10_alone",
                DOUBLE,
                "NDCG@10 of the feature alone on the validation window.",
                nullable=True,
            ),
            column(
                "blend_difference", DOUBLE, "NDCG@10 of the blend less that, paired by user.", nullable=True
            ),
            column("blend_difference_lo", DOUBLE, "Lower end of its 95 % interval.", nullable=True),
            column("blend_difference_hi", DOUBLE, "Upper end of its 95 % interval.", nullable=True),
        ]
    ),
    ("feature",),
    {
        "scale_positive": "scale > 0",
        "method_known": "method IN ('learned', 'single', 'configured')",
        "learned_share_range": "learned_share BETWEEN 0 AND 1",
        "settings_positive": "half_life > 0 AND regularization > 0",
    },
    version=2,
)
