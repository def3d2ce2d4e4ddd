"""Stage `als`: collaborative filtering by MLlib's alternating least squares."""

from __future__ import annotations

from vizrec_spark.als.id_map import indexed, new_ids
from vizrec_spark.als.recommender import AlsRecommender
from vizrec_spark.als.train import train_als, under_own_ids
from vizrec_spark.retrieval.fold_in import fold_in
from vizrec_spark.retrieval.preferences import preferences

__all__ = [
    "AlsRecommender",
    "fold_in",
    "indexed",
    "new_ids",
    "preferences",
    "train_als",
    "under_own_ids",
]
