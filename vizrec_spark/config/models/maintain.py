"""Section `maintain`: upkeep of the tables."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vizrec_spark.config.models.section import Name, Section

KEPT_DAYS = 30
"""How long Delta remembers which files it has put out of use; then a vacuum knows only how old they are."""


class MaintainConfig(Section):
    """Job `maintain`. Nobody may read a version for longer than the least that `keep_days` can be."""

    keep_days: Annotated[int, Field(ge=7, le=KEPT_DAYS)] = KEPT_DAYS
    tables: tuple[Name, ...] = ()
    clones: tuple[Name, ...] = ()
    compact: bool = True
