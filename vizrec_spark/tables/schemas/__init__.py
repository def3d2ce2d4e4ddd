"""The contracts of all tables, in the order in which the pipeline writes them; a module a writing stage."""

from __future__ import annotations

from vizrec_spark.tables.contract import Table
from vizrec_spark.tables.schemas.adapt import (
    ADAPTATION_CURVES,
    ADAPTATION_METRICS,
    ADAPTATION_MISTAKES,
    ADAPTATION_TRIALS,
    ADAPTED_ENCODERS,
    CONFUSIONS,
    ENCODER_FILES,
    ENCODER_PROMOTIONS,
    FINE_TUNED_ENCODERS,
    FINE_TUNED_PICTURES,
    IMAGE_LABELS,
    LABELLED_PICTURES,
)
from vizrec_spark.tables.schemas.als import (
    ALS_MODELS,
    ID_MAP,
    ITEM_FACTORS,
    TUNING_TRIALS,
    USER_FACTORS,
)
from vizrec_spark.tables.schemas.embed import EMBEDDINGS, ENCODERS, ENCODING_FAILURES
from vizrec_spark.tables.schemas.evaluate import METRICS, WORST_LISTS
from vizrec_spark.tables.schemas.ingest import IMAGES, INTERACTIONS, ITEMS, QUARANTINE, SEGMENTS, USERS
from vizrec_spark.tables.schemas.promote import PROMOTIONS
from vizrec_spark.tables.schemas.recommend import BLEND_WEIGHTS, ITEM_RECOMMENDATIONS, RECOMMENDATIONS
from vizrec_spark.tables.schemas.report import THUMBNAILS
from vizrec_spark.tables.schemas.restores import RESTORES
from vizrec_spark.tables.schemas.runs import RUNS
from vizrec_spark.tables.schemas.similar import (
    CATEGORY_NEIGHBORS,
    COMPARED_ITEMS,
    ITEM_NEIGHBORS,
    NEAR_DUPLICATES,
    SIMILARITY_QUALITY,
)
from vizrec_spark.tables.schemas.stream import LIVE_EVENTS, LIVE_RECOMMENDATIONS

__all__ = [
    "ADAPTATION_CURVES",
    "ADAPTATION_METRICS",
    "ADAPTATION_MISTAKES",
    "ADAPTATION_TRIALS",
    "ADAPTED_ENCODERS",
    "ALL_TABLES",
    "ALS_MODELS",
    "BLEND_WEIGHTS",
    "CATEGORY_NEIGHBORS",
    "COMPARED_ITEMS",
    "CONFUSIONS",
    "EMBEDDINGS",
    "ENCODERS",
    "ENCODER_FILES",
    "ENCODER_PROMOTIONS",
    "ENCODING_FAILURES",
    "FINE_TUNED_ENCODERS",
    "FINE_TUNED_PICTURES",
    "ID_MAP",
    "IMAGES",
    "IMAGE_LABELS",
    "INTERACTIONS",
    "ITEMS",
    "ITEM_FACTORS",
    "ITEM_NEIGHBORS",
    "ITEM_RECOMMENDATIONS",
    "LABELLED_PICTURES",
    "LIVE_EVENTS",
    "LIVE_RECOMMENDATIONS",
    "METRICS",
    "NEAR_DUPLICATES",
    "PROMOTIONS",
    "QUARANTINE",
    "RECOMMENDATIONS",
    "RESTORES",
    "RUNS",
    "SEGMENTS",
    "SIMILARITY_QUALITY",
    "THUMBNAILS",
    "TUNING_TRIALS",
    "USERS",
    "USER_FACTORS",
    "WORST_LISTS",
]

ALL_TABLES: tuple[Table, ...] = (
    ITEMS,
    USERS,
    SEGMENTS,
    IMAGES,
    INTERACTIONS,
    QUARANTINE,
    ENCODERS,
    EMBEDDINGS,
    ENCODING_FAILURES,
    ITEM_NEIGHBORS,
    SIMILARITY_QUALITY,
    COMPARED_ITEMS,
    CATEGORY_NEIGHBORS,
    NEAR_DUPLICATES,
    ID_MAP,
    USER_FACTORS,
    ITEM_FACTORS,
    ALS_MODELS,
    TUNING_TRIALS,
    RECOMMENDATIONS,
    ITEM_RECOMMENDATIONS,
    BLEND_WEIGHTS,
    THUMBNAILS,
    LIVE_EVENTS,
    LIVE_RECOMMENDATIONS,
    METRICS,
    WORST_LISTS,
    PROMOTIONS,
    RUNS,
    RESTORES,
    LABELLED_PICTURES,
    ADAPTATION_TRIALS,
    FINE_TUNED_ENCODERS,
    FINE_TUNED_PICTURES,
    ENCODER_FILES,
    ADAPTED_ENCODERS,
    ENCODER_PROMOTIONS,
    ADAPTATION_METRICS,
    CONFUSIONS,
    ADAPTATION_CURVES,
    ADAPTATION_MISTAKES,
    IMAGE_LABELS,
)
