"""Which encoder the configuration means: its id, as stage `embed` has written it down."""

from __future__ import annotations

import json

from pyspark.sql import functions as F

from vizrec_spark.config.models import EmbedConfig
from vizrec_spark.tables.schemas import ENCODERS
from vizrec_spark.tables.store import TableStore


def encoder_key(config: EmbedConfig) -> str:
    """The part of the configuration that names the encoder, as canonical JSON."""
    named = config.model_dump(
        mode="json", include={"encoder", "weights", "layer", "input_size", "preprocessing", "options"}
    )
    return json.dumps(named, sort_keys=True, separators=(",", ":"))


def current_encoder(tables: TableStore, config: EmbedConfig) -> str | None:
    """The id of the encoder that `config` names; null when stage `embed` has not met it yet."""
    known = tables.read_or_empty(ENCODERS).where(F.col("config_key") == encoder_key(config)).first()
    return None if known is None else str(known.encoder_id)
