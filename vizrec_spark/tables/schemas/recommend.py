"""Contract of what stage `recommend` writes."""

from __future__ import annotations

from pyspark.sql.types import StructType

from vizrec_spark.tables.contract import Table, column
from vizrec_spark.tables.schemas.types import DOUBLE, INT, STRING

RECOMMENDATIONS = Table(
    "recommendations",
    "recommend",
    "What to offer to each user, best first, with the reason.",
    StructType(
        [
            column("user_id", STRING, "The user."),
            column("rank", INT, "1 for the best."),
            column("item_id", STRING, "The item to offer; the user has no interaction with it."),
            column("score", DOUBLE, "Weighted sum of the parts; comparable within one user's list."),
            column("score_cf", DOUBLE, "What collaborative filtering adds to the score (weight included)."),
            column(
                "score_visual", DOUBLE, "What the looks of the user's recent items add (weight included)."
            ),
            column("score_popularity", DOUBLE, "What popularity adds (weight included)."),
            column("source", STRING, "The part that adds most: `als`, `visual` or `popularity`."),
            column(
                "because_item_id", STRING, "The item in the user's history that caused it.", nullable=True
            ),
            column("reason", STRING, "A sentence for the user."),
            column("model_id", STRING, "The ALS model used.", nullable=True),
            column("encoder_id", STRING, "The encoder used.", nullable=True),
        ]
    ),
    ("user_id", "rank"),
    {
        "rank_from_one": "rank >= 1",
        "parts_add_up": "abs(score - (score_cf + score_visual + score_popularity)) < 1e-6",
        "source_known": "source IN ('als', 'visual', 'popularity')",
    },
)
