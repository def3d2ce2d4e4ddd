"""Where the tables are, and the Spark session."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from vizrec_spark.config.models.section import Name, Section


class TablesConfig(Section):
    """Where the Delta tables live: below a path (any Hadoop file system), or in a catalog's schema if given."""

    root: Name = "work/tables"
    catalog: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*\.[A-Za-z_]\w*$")] | None = None


class SparkConfig(Section):
    """Spark settings for a session that this process starts; under spark-submit its own flags win."""

    stays_in_memory: ClassVar[bool] = True

    master: Name | None = None
    conf: dict[str, str] = {}
