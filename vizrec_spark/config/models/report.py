"""Section `report`: the HTML page for people."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from vizrec_spark.config.models.section import Name, Section


class ReportConfig(Section):
    """Stage `report`: the HTML page for people."""

    path: Name = "work/report.html"
    shoppers: Annotated[int, Field(ge=1, le=100)] = 8
    items: Annotated[int, Field(ge=1, le=100)] = 10
    map: Annotated[int, Field(ge=0, le=600)] = 200
    thumbnail: Annotated[int, Field(ge=32, le=512)] = 160
    fresh_hours: Annotated[float, Field(gt=0)] = 24.0

    @model_validator(mode="after")
    def _local(self) -> ReportConfig:
        if "://" in self.path:
            raise ValueError(
                "`path` must be a file of this machine; copy the page to an object store afterwards"
            )
        return self
