"""Section `stream`: live events in, live recommendations out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from vizrec_spark.config.models.ingest import InteractionColumns
from vizrec_spark.config.models.section import Name, Section, without_secrets

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
    same_within_s: Annotated[float, Field(ge=0)] = 1.0
    trigger_seconds: Annotated[float, Field(ge=0)] = 0.2
    available_now: bool = False
    max_per_batch: Annotated[int, Field(ge=1)] = 1000
    max_bytes_per_batch: Annotated[int, Field(ge=1)] = 4_194_304
    reload_seconds: Annotated[float, Field(ge=0)] = 5.0
    remember_minutes: Annotated[int, Field(ge=1)] = 10
    checkpoint: Name = "work/stream"
    direct_bytes: Annotated[int, Field(ge=0)] = 16_777_216
    latest: Annotated[int, Field(ge=0)] = 10
    in_memory: Annotated[int, Field(ge=0)] = 2_000_000
    tail: Annotated[int, Field(ge=1)] = 50_000
    grace_s: Annotated[float, Field(ge=0)] = 30.0

    @field_validator("options")
    @classmethod
    def _no_secrets(cls, options: dict[str, str]) -> dict[str, str]:
        without_secrets(options, "name an environment variable that has its value in `secret_options`")
        return options

    @model_validator(mode="after")
    def _kafka_has_a_topic(self) -> StreamConfig:
        if self.source == "kafka" and (self.servers is None or self.topic is None):
            raise ValueError("source `kafka` needs `servers` (host:port, ...) and a `topic`")
        return self
