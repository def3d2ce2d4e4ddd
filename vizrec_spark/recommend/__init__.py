"""Stage `recommend`: candidates from every source, a weighted blend, reasons."""

from __future__ import annotations

from vizrec_spark.recommend.blend import SOURCES, Ranked, recommend_block
from vizrec_spark.recommend.history import user_rows
from vizrec_spark.recommend.items import ItemSide, build_item_side
from vizrec_spark.recommend.score import score_users

__all__ = ["SOURCES", "ItemSide", "Ranked", "build_item_side", "recommend_block", "score_users", "user_rows"]
