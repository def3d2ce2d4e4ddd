"""Stage `als`: collaborative filtering by MLlib's alternating least squares."""

from __future__ import annotations

from vizrec_spark.als.id_map import indexed, new_ids
from vizrec_spark.als.preferences import preferences
from vizrec_spark.als.train import train_als, under_own_ids

__all__ = ["indexed", "new_ids", "preferences", "train_als", "under_own_ids"]
