"""Section `similar`: look-alikes of every item."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vizrec_spark.config.models.section import Section


class FiltersConfig(Section):
    """Which items may be look-alikes of which; all SQL is over the columns of table `items`."""

    where: str | None = None
    same: tuple[str, ...] = ()
    price_band: Annotated[float, Field(gt=0.0)] | None = None
    exclude: str | None = None
    min_cosine: Annotated[float, Field(ge=-1.0, le=1.0)] | None = None


class NearDuplicatesConfig(Section):
    """When two items count as showing the same picture."""

    cosine: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    hash_bits: Annotated[int, Field(ge=0, le=64)] = 8


class SimilarConfig(Section):
    """Stage `similar`: look-alikes of every item."""

    method: Literal["auto", "exact", "flat", "cells", "lsh"] = "auto"
    plan: Literal["auto", "shared", "partitioned"] = "auto"
    metric: Literal["cosine", "euclidean"] = "cosine"
    k: Annotated[int, Field(ge=1, le=1000)] = 50
    per_category: Annotated[int, Field(ge=0, le=100)] = 0
    target_recall: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.95
    exact_below: Annotated[int, Field(ge=0)] = 10_000
    dimensions: Annotated[int, Field(ge=8, le=4096)] = 192
    cells: Annotated[int, Field(ge=1)] | None = None
    tables: Annotated[int, Field(ge=1, le=64)] | None = None
    bits: Annotated[int, Field(ge=1, le=20)] | None = None
    probes: Annotated[int, Field(ge=1)] | None = None
    rerank: Annotated[int, Field(ge=1)] | None = None
    max_bucket_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.01
    shared_dir: str | None = None
    shared_max_bytes: Annotated[int, Field(ge=0)] | None = None
    block_rows: Annotated[int, Field(ge=1)] = 2048
    tuning_queries: Annotated[int, Field(ge=1)] = 200
    recall_queries: Annotated[int, Field(ge=1)] = 400
    look_features: Annotated[int, Field(ge=1, le=1024)] = 256
    incremental_below: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    filters: FiltersConfig = FiltersConfig()
    near_duplicates: NearDuplicatesConfig = NearDuplicatesConfig()
    seed: int = 42

    @model_validator(mode="after")
    def _plan_and_method(self) -> Self:
        if self.plan == "partitioned" and self.method == "flat":
            raise ValueError(
                "`method` flat compares everything with everything, which `plan` partitioned would have to send to "
                "every shard: choose auto, cells, lsh or exact"
            )
        if self.plan == "partitioned" and self.per_category:
            raise ValueError("`per_category` needs the shared plan: set it to 0, or `plan` to auto or shared")
        alike, weakest = self.near_duplicates.cosine, self.filters.min_cosine
        if alike is not None and weakest is not None and weakest > alike:
            raise ValueError(
                f"`filters.min_cosine` ({weakest}) cuts off look-alikes that `near_duplicates.cosine` ({alike}) asks "
                "for: lower the one or raise the other"
            )
        return self
