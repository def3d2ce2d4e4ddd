"""Section `tune`: the search for the settings of `als`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from vizrec_spark.config.models.section import Name, Section

Positive = Annotated[float, Field(gt=0)]


class SpanConfig(Section):
    """Both ends of what is tried; steps are equal on a logarithmic scale."""

    low: Positive
    high: Positive

    @model_validator(mode="after")
    def _in_order(self) -> SpanConfig:
        if self.low > self.high:
            raise ValueError("low must not be above high")
        return self


class TuneConfig(Section):
    """Stage `tune`: trials of ALS on interactions held out by time."""

    trials: Annotated[int, Field(ge=1)] = 30
    patience: Annotated[int, Field(ge=1)] = 12
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.2
    k: Annotated[int, Field(ge=1)] = 20
    ranks: Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(min_length=1)] = (
        16,
        32,
        64,
        128,
    )
    regularization: SpanConfig = SpanConfig(low=0.001, high=1.0)
    alpha: SpanConfig = SpanConfig(low=0.5, high=100.0)
    half_life_days: SpanConfig = SpanConfig(low=3.0, high=365.0)
    output: Name = "work/tuned.yml"
    seed: int = 42
