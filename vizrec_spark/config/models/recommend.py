"""Section `recommend`: candidates, blend and lists."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vizrec_spark.config.models.section import Name, Section, Share

Count = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0)]


class BlendWeights(Section):
    """Weights of the parts of the score where there is too little data to learn them; 0 leaves a part out always."""

    cf: Weight = 0.3
    cooccurrence: Weight = 0.3
    visual: Weight = 0.2
    attributes: Weight = 0.1
    popularity: Weight = 0.1

    @model_validator(mode="after")
    def _not_all_zero(self) -> BlendWeights:
        if self.cf + self.cooccurrence + self.visual + self.attributes + self.popularity == 0:
            raise ValueError("at least one weight must be above 0")
        return self


class CandidatesConfig(Section):
    """How many candidates each source may propose for a user."""

    als: Count = 40
    cooccurrence: Count = 80
    visual: Count = 40
    attributes: Count = 20
    popularity: Count = 40
    fresh: Count = 10
    new: Count = 20


class LearnConfig(Section):
    """How the blend is learned on a validation window."""

    enabled: bool = True
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    min_users: Annotated[int, Field(ge=2)] = 50
    users: Annotated[int, Field(ge=2)] = 4000
    negatives: Annotated[int, Field(ge=1)] = 20
    non_negative: bool = True
    new_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    seed: int = 42


class Boost(Section):
    """A number added to the score of items."""

    where: Name
    add: float


class RerankConfig(Section):
    """What shapes a list after scoring."""

    diversity: Share = 0.0
    pool: Annotated[int, Field(ge=1)] = 60
    one_per_group: bool = True
    max_per_category: Annotated[int, Field(ge=1)] | None = None
    exploration: Share = 0.05
    rules: tuple[Name, ...] = ()
    boosts: tuple[Boost, ...] = ()
    already: Literal["leave_out", "leave_out_bought", "keep"] = "leave_out"
    bought: tuple[Name, ...] = ("buy", "purchase")


class RecommendConfig(Section):
    """Stage `recommend`."""

    k: Annotated[int, Field(ge=1)] = 20
    model: Literal["latest", "promoted"] = "latest"
    weights: BlendWeights = BlendWeights()
    candidates: CandidatesConfig = CandidatesConfig()
    learn: LearnConfig = LearnConfig()
    rerank: RerankConfig = RerankConfig()
    history: Annotated[int, Field(ge=1)] = 200
    neighbours: Annotated[int, Field(ge=1, le=500)] = 64
    half_life_days: Annotated[float, Field(gt=0)] = 30.0
    block_users: Annotated[int, Field(ge=1)] = 512
