"""Section `evaluate`: what models are judged on, and the gate."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field, model_validator

from vizrec_spark.config.models.section import Name, Section, Share

Protocol = Literal["user_time", "global_time", "leave_last_out", "cold_items"]

RANKING = ("recall", "precision", "ndcg", "map", "mrr", "hit_rate")
OF_LISTS = ("novelty", "diversity", "serendipity", "miscalibration")
OF_ALL_LISTS = ("coverage", "gini")
ITEM_SLICES = ("warm_items", "head_items", "middle_items", "tail_items", "cold_items")
USER_SLICES = ("all", "light_users", "heavy_users", "new_users")


class GateConfig(Section):
    """Whether a candidate may take the place of the current model."""

    candidate: Name | None = None
    current: Name | None = None
    metric: Name = "ndcg@10"
    slice: Name = "all"
    minimum: float | None = None
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    output: Name = "work/gate.json"

    @model_validator(mode="after")
    def _two_models(self) -> GateConfig:
        if self.current is not None and self.candidate in (None, self.current):
            raise ValueError("`current` needs a `candidate`, and another model than that")
        if self.candidate is not None and self.current is None and self.minimum is None:
            raise ValueError("a `candidate` needs a `current` model, a `minimum`, or both to be held against")
        if self.slice not in (*USER_SLICES, *ITEM_SLICES):
            raise ValueError(f"`slice` must be one of {', '.join((*USER_SLICES, *ITEM_SLICES))}")
        return self

    def require_measured(self, cutoffs: Sequence[int]) -> None:
        """Raises: ValueError for a metric that is not measured at `cutoffs`, in the slice, or in comparison."""
        kinds = RANKING if self.slice in ITEM_SLICES else (*RANKING, *OF_LISTS)
        if self.slice == "all" and self.current is None:
            kinds = (*kinds, *OF_ALL_LISTS)
        known = [f"{kind}@{k}" for kind in kinds for k in cutoffs]
        if self.slice not in ITEM_SLICES:
            known.append("auc")
        if self.metric not in known:
            told = "compared with another model" if self.current is not None else "measured"
            raise ValueError(
                f"`gate.metric` {self.metric} is not {told} in slice {self.slice} with these `cutoffs`; there are "
                f"{', '.join(known)}"
            )


class EvaluateConfig(Section):
    """Stage `evaluate`, and job `holdout` before it."""

    training: Name = "work/training"
    training_copies: tuple[Name, ...] = ()
    log_version: Annotated[int, Field(ge=0)] | None = None
    models: dict[Name, Name] = {}
    reference: Name | None = None
    protocol: Protocol = "user_time"
    test_share: Share = 0.2
    validation_share: Share = 0.1
    validation_from: Name | None = None
    test_from: Name | None = None
    min_interactions: Annotated[int, Field(ge=3)] = 5
    relevant: Literal["met", "liked"] = "met"
    cold_share: Share = 0.1
    min_users: Annotated[int, Field(ge=1)] = 30
    cutoffs: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (10, 20)
    depth: Annotated[int, Field(ge=1)] = 1000
    looks: bool = True
    looks_items: Annotated[int, Field(ge=1, le=500_000)] = 50_000
    replicates: Annotated[int, Field(ge=100, le=10_000)] = 1000
    seed: int = 42
    gate: GateConfig = GateConfig()

    @model_validator(mode="after")
    def _makes_sense(self) -> EvaluateConfig:
        if not 0 < self.test_share + self.validation_share < 1 or self.test_share == 0:
            raise ValueError(
                "`test_share` must be above 0, and leave room for training beside `validation_share`"
            )
        if not 0 < self.cold_share < 1 - (self.validation_share if self.protocol == "cold_items" else 0):
            raise ValueError(
                "`cold_share` must be above 0, and leave room for training beside `validation_share`"
            )
        if (self.validation_from is None) != (self.test_from is None):
            raise ValueError("give both of `validation_from` and `test_from`, or neither")
        if self.moments is not None and self.moments[0] > self.moments[1]:
            raise ValueError("`validation_from` must not lie behind `test_from`")
        if len(set(self.cutoffs)) != len(self.cutoffs) or max(self.cutoffs) > self.depth:
            raise ValueError("`cutoffs` must differ from each other and be at most `depth`")
        named = {
            name for name in (self.reference, self.gate.candidate, self.gate.current) if name is not None
        }
        if self.gate.current is not None and self.reference not in (None, self.gate.current):
            raise ValueError(
                "`reference` must be `gate.current`, which the gate compares with, or be left out"
            )
        if self.gate.candidate is not None:
            self.gate.require_measured(self.cutoffs)
        if missing := sorted(named - set(self.models or {"recommendations": ""})):
            raise ValueError(f"`models` does not have {', '.join(missing)}")
        return self

    @property
    def moments(self) -> tuple[datetime, datetime] | None:
        """`validation_from` and `test_from`, in UTC where they name no zone; None where they are not given."""
        if self.validation_from is None or self.test_from is None:
            return None
        first, second = (datetime.fromisoformat(m) for m in (self.validation_from, self.test_from))
        return _zoned(first), _zoned(second)


def _zoned(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
