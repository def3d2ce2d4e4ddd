"""What stage `adapt` asks of the encoders of stage `embed`, which the app puts together with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pyspark.sql import DataFrame

from vizrec_spark.config.models import EmbedConfig
from vizrec_spark.stage import StageContext


@dataclass(frozen=True)
class KerasFile:
    """An encoder as a ``.keras`` file: RGB of 0..255, float32 (batch, *input_size, 3), to float32 (batch, dimension).

    `encoder_id` is that of float32: a hash of weights, architecture, preprocessing and input size.
    """

    encoder_id: str
    path: Path
    input_size: tuple[int, int]
    dimension: int


@dataclass(frozen=True)
class Encoded:
    """Vectors of some pictures: rows has sha256 string, vector array<float>; made as stage `embed` makes them by
    `config`, whose precision is set."""

    encoder_id: str
    dimension: int
    config: EmbedConfig
    rows: DataFrame


class Encoders(Protocol):
    """The encoders that `embed.encoder` may name."""

    def keras_file(self, context: StageContext) -> KerasFile:
        """The configured encoder, which is one of Keras. Raises: EncoderError; WeightsUnavailable."""
        ...

    def encode(self, context: StageContext, config: EmbedConfig, pictures: DataFrame) -> Encoded:
        """Vectors of pictures (sha256, content) by the encoder that `config` names; those that fail have no row."""
        ...
