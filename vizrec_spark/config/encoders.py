"""The part of the configuration that names the encoder."""

from __future__ import annotations

import json

from vizrec_spark.config.models import EmbedConfig

_NAMING = ("encoder", "weights", "layer", "input_size", "preprocessing", "options", "precision")


def named_as(config: EmbedConfig, encoder: EmbedConfig) -> EmbedConfig:
    """`config` with the encoder that `encoder` names; how it is run stays."""
    return config.model_copy(update={name: getattr(encoder, name) for name in _NAMING})


def encoder_key(config: EmbedConfig) -> str:
    """The part of the configuration that names the encoder, as canonical JSON: column `config_key` of `encoders`.

    The runtime is no part of it: the row of this key tells, by its encoder id, how the vectors were made. The
    precision is where it is set; with ``auto`` the row says which one was taken, and it stays.
    """
    names = set(_NAMING) - ({"precision"} if config.precision == "auto" else set())
    named = config.model_dump(mode="json", include=names)
    return json.dumps(named, sort_keys=True, separators=(",", ":"))
