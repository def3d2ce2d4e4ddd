"""Section `serve`: the HTTP service."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vizrec_spark.config.models.section import Name, Section


class ServeConfig(Section):
    """Command `serve`: the HTTP service on the tables."""

    host: Name = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    page: bool = True
    search: bool = True
    api_key_variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    reload_seconds: Annotated[float, Field(gt=0)] = 5.0
    live_seconds: Annotated[float, Field(gt=0)] = 1.0
    live_minutes: Annotated[float, Field(ge=0)] = 60.0
    max_k: Annotated[int, Field(ge=1, le=1000)] = 100
    max_upload_bytes: Annotated[int, Field(ge=1024)] = 10_485_760
    max_pixels: Annotated[int, Field(ge=4096)] = 25_000_000
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    max_waiting: Annotated[int, Field(ge=1)] = 16
    max_in_flight: Annotated[int, Field(ge=1)] = 128
    max_connections: Annotated[int, Field(ge=1)] = 1024
    max_delay_ms: Annotated[float, Field(gt=0)] = 250.0
    timeout_s: Annotated[float, Field(gt=0)] = 10.0
    grace_s: Annotated[float, Field(ge=0)] = 10.0
    picture_cache_bytes: Annotated[int, Field(ge=0)] = 67_108_864
