"""Which encoder the configuration means: its id, as stage `embed` has written it down."""

from __future__ import annotations

from pyspark.sql import Row
from pyspark.sql import functions as F

from vizrec_spark.config.encoders import encoder_key
from vizrec_spark.config.models import EmbedConfig
from vizrec_spark.tables.schemas import ENCODERS
from vizrec_spark.tables.store import TableStore

__all__ = ["current_encoder", "encoder_key", "known_encoder"]


def known_encoder(tables: TableStore, config: EmbedConfig) -> Row | None:
    """The row of table `encoders` that `config` means; null when stage `embed` has not met the encoder yet."""
    return tables.read_or_empty(ENCODERS).where(F.col("config_key") == encoder_key(config)).first()


def current_encoder(tables: TableStore, config: EmbedConfig) -> str | None:
    """The id of `known_encoder`."""
    known = known_encoder(tables, config)
    return None if known is None else str(known.encoder_id)
