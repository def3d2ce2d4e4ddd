"""The contracts of all tables, in the order in which the pipeline writes them; a module a writing stage."""

from __future__ import annotations

from vizrec_spark.tables.contract import Table
from vizrec_spark.tables.schemas.als import ID_MAP, ITEM_FACTORS, USER_FACTORS
from vizrec_spark.tables.schemas.embed import EMBEDDINGS, ENCODERS
from vizrec_spark.tables.schemas.ingest import IMAGES, INTERACTIONS, ITEMS, QUARANTINE, USERS
from vizrec_spark.tables.schemas.recommend import RECOMMENDATIONS
from vizrec_spark.tables.schemas.similar import ITEM_NEIGHBORS, SIMILARITY_QUALITY

__all__ = [
    "ALL_TABLES",
    "EMBEDDINGS",
    "ENCODERS",
    "ID_MAP",
    "IMAGES",
    "INTERACTIONS",
    "ITEMS",
    "ITEM_FACTORS",
    "ITEM_NEIGHBORS",
    "QUARANTINE",
    "RECOMMENDATIONS",
    "SIMILARITY_QUALITY",
    "USERS",
    "USER_FACTORS",
]

ALL_TABLES: tuple[Table, ...] = (
    ITEMS,
    USERS,
    IMAGES,
    INTERACTIONS,
    QUARANTINE,
    ENCODERS,
    EMBEDDINGS,
    ITEM_NEIGHBORS,
    SIMILARITY_QUALITY,
    ID_MAP,
    USER_FACTORS,
    ITEM_FACTORS,
    RECOMMENDATIONS,
)
