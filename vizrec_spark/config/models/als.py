"""Section `als`: collaborative filtering."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from vizrec_spark.config.models.section import Name, Section

Storage = Literal["MEMORY_AND_DISK", "MEMORY_ONLY", "DISK_ONLY"]


class AlsConfig(Section):
    """Stage `als`: interactions to preferences, and MLlib's alternating least squares on them."""

    settings: Literal["configured", "promoted", "tuned"] = "configured"
    preference: Literal["implicit", "explicit"] = "implicit"
    events: dict[Name, Annotated[float, Field(ge=0)]] = {}
    half_life_days: Annotated[float, Field(gt=0)] | None = None
    max_weight: Annotated[float, Field(gt=0)] = 20.0
    outlier_fence: Annotated[float, Field(gt=0)] | None = None
    min_user_items: Annotated[int, Field(ge=1)] = 1
    min_item_users: Annotated[int, Field(ge=1)] = 1
    rank: Annotated[int, Field(ge=1, le=1024)] = 32
    iterations: Annotated[int, Field(ge=1)] = 12
    regularization: Annotated[float, Field(gt=0)] = 0.05
    alpha: Annotated[float, Field(ge=0)] = 10.0
    blocks: Annotated[int, Field(ge=1)] | None = None
    intermediate_storage: Storage = "MEMORY_AND_DISK"
    final_storage: Storage = "MEMORY_AND_DISK"
    checkpoint_dir: Name = "work/checkpoints"
    checkpoint_interval: Annotated[int, Field(ge=1)] = 5
    model_dir: Name | None = None
    loss_sample: Annotated[int, Field(ge=0, le=1_000_000)] = 50_000
    seed: int = 42


def with_settings(als: AlsConfig, settings: Mapping[str, float]) -> AlsConfig:
    """`als` with what `settings_of` has told of another; without `half_life_days`, all events count alike."""
    changes: dict[str, Any] = {**settings, "rank": int(settings["rank"])}
    changes.setdefault("half_life_days", None)
    return AlsConfig.model_validate({**als.model_dump(), **changes})


def settings_of(als: AlsConfig) -> dict[str, float]:
    """What job `tune` searches and tables tell of a model; `with_settings` puts it back."""
    settings = {"rank": float(als.rank), "regularization": als.regularization}
    if als.preference == "implicit":
        settings["alpha"] = als.alpha
        if als.half_life_days is not None:
            settings["half_life_days"] = als.half_life_days
    return settings
