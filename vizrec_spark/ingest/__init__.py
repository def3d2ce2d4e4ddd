"""Stage `ingest`: landing files become the tables items, users, images, interactions and quarantine."""

from __future__ import annotations

from vizrec_spark.ingest.catalogue import validate_catalogue
from vizrec_spark.ingest.images import decode_check, image_references
from vizrec_spark.ingest.interactions import validate_interactions
from vizrec_spark.ingest.sources import read_source
from vizrec_spark.ingest.users import validate_users

__all__ = [
    "decode_check",
    "image_references",
    "read_source",
    "validate_catalogue",
    "validate_interactions",
    "validate_users",
]
