"""Section `als`: collaborative filtering."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vizrec_spark.config.models.section import Name, Section


class AlsConfig(Section):
    """Stage `als`: MLlib's alternating least squares."""

    preference: Literal["implicit", "explicit"] = "implicit"
    rank: Annotated[int, Field(ge=1, le=1024)] = 32
    iterations: Annotated[int, Field(ge=1)] = 12
    regularization: Annotated[float, Field(gt=0)] = 0.05
    alpha: Annotated[float, Field(ge=0)] = 10.0
    max_weight: Annotated[float, Field(gt=0)] = 20.0
    blocks: Annotated[int, Field(ge=1)] = 4
    checkpoint_dir: Name = "work/checkpoints"
    checkpoint_interval: Annotated[int, Field(ge=1)] = 5
    seed: int = 42
