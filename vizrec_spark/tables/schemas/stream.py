"""Contracts of what stage `stream` writes.

Their CHECK constraints are in words that Spark and `deltalake` both understand: see `tables.direct`.
"""

from __future__ import annotations

from pyspark.sql.types import ArrayType, StructField, StructType, TimestampType

from vizrec_spark.tables.contract import Table, column
from vizrec_spark.tables.schemas.ingest import INTERACTIONS
from vizrec_spark.tables.schemas.recommend import RECOMMENDATIONS
from vizrec_spark.tables.schemas.types import LONG, STRING

_NOT_OF_AN_OFFER = ("user_id", "model_id", "encoder_id")


OFFER = StructType(
    [StructField(f.name, f.dataType) for f in RECOMMENDATIONS.schema.fields if f.name not in _NOT_OF_AN_OFFER]
)
"""One offer of a list: the columns of table `recommendations` that are not the user's or the list's."""

LIVE_EVENTS = Table(
    "live_events",
    "stream",
    "What people did, as it came over the stream: the accepted events, each once. Stage `ingest` takes them over.",
    StructType(
        [
            column(
                "event_id", STRING, "Identifier of the event; where it came without one, a hash of its text."
            ),
            *(
                column("item_id", STRING, "With which item; `items` may not have it yet.")
                if field.name == "item_id"
                else field
                for field in INTERACTIONS.schema.fields
            ),
            column("arrived_at", TimestampType(), "When the micro-batch that brought it began (UTC)."),
            column("query_id", STRING, "The streaming query, which a checkpoint keeps through restarts."),
            column("batch", LONG, "Number of that micro-batch."),
        ]
    ),
    ("event_id",),
    {"event_id_not_empty": "length(event_id) > 0", **INTERACTIONS.checks},
    log_days=1,  # a commit every second or so
)

LIVE_RECOMMENDATIONS = Table(
    "live_recommendations",
    "stream",
    "What to offer right now to each user who has lately done something: one row a user.",
    StructType(
        [
            column("user_id", STRING, "The user."),
            column("offers", ArrayType(OFFER), "The list, best first, as in table `recommendations`."),
            column("latest", ArrayType(STRING), "The items that the user met last, the latest first."),
            column("last_event_at", TimestampType(), "When the latest event happened (UTC)."),
            column("updated_at", TimestampType(), "When the micro-batch that made the list began (UTC)."),
            column("batch", LONG, "Number of that micro-batch."),
            column("model_id", STRING, "The ALS model used.", nullable=True),
            column("encoder_id", STRING, "The encoder used.", nullable=True),
        ]
    ),
    ("user_id",),
    {"user_id_not_empty": "length(user_id) > 0"},
    log_days=1,
    out_of_use_hours=2,  # a commit may replace all of it
)
