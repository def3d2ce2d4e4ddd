"""Configuration: typed, frozen, validated before Spark starts."""

from __future__ import annotations

from vizrec_spark.config.load import load_config, save_config, setting
from vizrec_spark.config.models import Config

__all__ = ["Config", "load_config", "save_config", "setting"]
