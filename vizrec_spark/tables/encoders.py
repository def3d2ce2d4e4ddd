"""Which encoder the configuration means: its id, as stage `embed` has written it down."""

from __future__ import annotations

import json

from pyspark.sql import Row
from pyspark.sql import functions as F

from vizrec_spark.config.models import EmbedConfig
from vizrec_spark.tables.schemas import ENCODERS
from vizrec_spark.tables.store import TableStore

_NAMING = ("encoder", "weights", "layer", "input_size", "preprocessing", "options", "precision")


def named_as(config: EmbedConfig, encoder: EmbedConfig) -> EmbedConfig:
    """`config` with the encoder that `encoder` names; how it is run stays."""
    return config.model_copy(update={name: getattr(encoder, name) for name in _NAMING})


def encoder_key(config: EmbedConfig) -> str:
    """The part of the configuration that names the encoder, as canonical JSON.

    The runtime is no part of it: the row of this key tells, by its encoder id, how the vectors were made. The
    precision is where it is set; with ``auto`` the row says which one was taken, and it stays.
    """
    names = set(_NAMING) - ({"precision"} if config.precision == "auto" else set())
    named = config.model_dump(mode="json", include=names)
    return json.dumps(named, sort_keys=True, separators=(",", ":"))


def known_encoder(tables: TableStore, config: EmbedConfig) -> Row | None:
    """The row of table `encoders` that `config` means; null when stage `embed` has not met the encoder yet."""
    return tables.read_or_empty(ENCODERS).where(F.col("config_key") == encoder_key(config)).first()


def current_encoder(tables: TableStore, config: EmbedConfig) -> str | None:
    """The id of `known_encoder`."""
    known = known_encoder(tables, config)
    return None if known is None else str(known.encoder_id)
