"""Section `stream`: live events in, live recommendations out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vizrec_spark.config.models.ingest import InteractionColumns
from vizrec_spark.config.models.section import Name, Section

Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class LiveColumns(InteractionColumns):
    """Names of an event's fields; without `event_id`, events of the same text are the same."""

    event_id: Name | None = "event_id"


class StreamConfig(Section):
    """Job `stream`."""

    source: Literal["folder", "delta", "kafka"] = "folder"
    path: Name = "work/events"
    format: Literal["json", "parquet"] = "json"
    servers: Name | None = None
    topic: Name | None = None
    options: dict[Name, str] = {}
    secret_options: dict[Name, Variable] = {}
    columns: LiveColumns = LiveColumns()
    timestamp: Literal["epoch_s", "epoch_ms", "iso"] = "iso"
    trigger_seconds: Annotated[float, Field(ge=0)] = 0.0
    available_now: bool = False
    max_per_batch: Annotated[int, Field(ge=1)] = 1000
    reload_seconds: Annotated[float, Field(ge=0)] = 5.0
    remember_minutes: Annotated[int, Field(ge=1)] = 60
    checkpoint: Name = "work/stream"
    latest: Annotated[int, Field(ge=0)] = 10
    tail: Annotated[int, Field(ge=1)] = 50_000
    grace_s: Annotated[float, Field(ge=0)] = 30.0

    @model_validator(mode="after")
    def _kafka_has_a_topic(self) -> StreamConfig:
        if self.source == "kafka" and (self.servers is None or self.topic is None):
            raise ValueError("source `kafka` needs `servers` (host:port, ...) and a `topic`")
        return self
