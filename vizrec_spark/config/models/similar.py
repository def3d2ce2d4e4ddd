"""Section `similar`: look-alikes of every item."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vizrec_spark.config.models.section import Section


class SimilarConfig(Section):
    """Stage `similar`: look-alikes of every item."""

    method: Literal["auto", "exact", "lsh"] = "auto"
    metric: Literal["cosine", "euclidean"] = "cosine"
    k: Annotated[int, Field(ge=1, le=1000)] = 50
    exact_below: Annotated[int, Field(ge=0)] = 20_000
    tables: Annotated[int, Field(ge=1, le=64)] | None = None
    bits: Annotated[int, Field(ge=1, le=24)] | None = None
    target_recall: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.95
    bucket_cap: Annotated[int, Field(ge=2)] = 4096
    block_rows: Annotated[int, Field(ge=1)] = 2048
    recall_queries: Annotated[int, Field(ge=1)] = 200
    seed: int = 42
