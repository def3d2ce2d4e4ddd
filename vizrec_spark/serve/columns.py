"""What the service reads of the tables: a part of their contracts, known here without Spark.

A test compares it with `vizrec_spark.tables.schemas`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

VERSION_PROPERTY: Final = "vizrec.contractVersion"


class Source(NamedTuple):
    """A table: its name, the stage that writes it, the version of its contract, and the columns that are read."""

    name: str
    writer: str
    contract: int
    columns: tuple[str, ...]


ITEMS = Source("items", "ingest", 1, ("item_id", "title", "categories", "price", "attributes"))
IMAGES = Source("images", "ingest", 1, ("item_id", "path", "sha256", "content"))
INTERACTIONS = Source(
    "interactions", "ingest", 1, ("user_id", "item_id", "event", "rating", "weight", "timestamp")
)
ENCODERS = Source("encoders", "embed", 1, ("config_key", "encoder_id", "dimension"))
EMBEDDINGS = Source("embeddings", "embed", 1, ("sha256", "encoder_id", "vector"))
ITEM_NEIGHBORS = Source(
    "item_neighbors", "similar", 1, ("encoder_id", "item_id", "rank", "neighbor_id", "cosine")
)
SIMILARITY_QUALITY = Source("similarity_quality", "similar", 2, ("encoder_id", "mean_cosine"))
RECOMMENDATIONS = Source(
    "recommendations",
    "recommend",
    2,
    (
        "user_id",
        "rank",
        "item_id",
        "score_cf",
        "score_cooccurrence",
        "score_visual",
        "score_attributes",
        "score_popularity",
        "score_boost",
        "source",
        "because_item_id",
        "reason",
        "model_id",
        "encoder_id",
    ),
)

LIVE_RECOMMENDATIONS = Source(
    "live_recommendations", "stream", 1, ("user_id", "offers", "updated_at", "model_id", "encoder_id")
)

ADAPTED_ENCODERS = Source(
    "adapted_encoders", "adapt", 1, ("encoder_id", "base_encoder_id", "base_config", "sha256", "weights")
)
FINE_TUNED_ENCODERS = Source(
    "fine_tuned_encoders", "adapt", 1, ("encoder_id", "input_height", "input_width", "dimension", "sha256")
)
ENCODER_FILES = Source("encoder_files", "adapt", 1, ("encoder_id", "piece", "content"))

SOURCES: Final = (
    ITEMS,
    IMAGES,
    INTERACTIONS,
    ENCODERS,
    EMBEDDINGS,
    ITEM_NEIGHBORS,
    SIMILARITY_QUALITY,
    RECOMMENDATIONS,
)
"""What a snapshot is made of; `LIVE_RECOMMENDATIONS`, which changes every second or so, is read apart, and so is what
stage `adapt` keeps, which search by picture asks for when it loads an encoder."""
