"""Recommenders that every other has to beat, with the same interface."""

from __future__ import annotations

from vizrec_spark.baselines.cosine import ItemCosine
from vizrec_spark.baselines.popularity import Popularity
from vizrec_spark.baselines.table import TableRecommender

__all__ = ["ItemCosine", "Popularity", "TableRecommender"]
