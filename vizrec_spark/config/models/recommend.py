"""Section `recommend`: candidates, blend and lists."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vizrec_spark.config.models.section import Section


class BlendWeights(Section):
    """Weights of the parts of the score."""

    cf: Annotated[float, Field(ge=0)] = 0.5
    visual: Annotated[float, Field(ge=0)] = 0.4
    popularity: Annotated[float, Field(ge=0)] = 0.1

    @model_validator(mode="after")
    def _not_all_zero(self) -> BlendWeights:
        if self.cf + self.visual + self.popularity == 0:
            raise ValueError("at least one weight must be above 0")
        return self


class CandidatesConfig(Section):
    """How many candidates each source may propose for a user."""

    als: Annotated[int, Field(ge=0)] = 200
    visual: Annotated[int, Field(ge=0)] = 200
    popularity: Annotated[int, Field(ge=0)] = 100


class RecommendConfig(Section):
    """Stage `recommend`."""

    k: Annotated[int, Field(ge=1)] = 20
    model: Literal["latest", "promoted"] = "latest"
    weights: BlendWeights = BlendWeights()
    candidates: CandidatesConfig = CandidatesConfig()
    history: Annotated[int, Field(ge=1)] = 50
    half_life_days: Annotated[float, Field(gt=0)] = 30.0
    block_users: Annotated[int, Field(ge=1)] = 1024
