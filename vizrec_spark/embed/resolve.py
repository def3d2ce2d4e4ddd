"""From the configuration to an encoder that can run: built, its runtime and precision chosen, exported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from vizrec_spark.config.models import AffinePreprocessing, EmbedConfig
from vizrec_spark.embed.build import build_encoder
from vizrec_spark.embed.choice import Choice, Machine, Precision, choose
from vizrec_spark.embed.encoder import EncoderSpec
from vizrec_spark.embed.export import export_encoder
from vizrec_spark.embed.fingerprint import at_precision
from vizrec_spark.embed.preprocessing import affine
from vizrec_spark.stage import StageContext
from vizrec_spark.tables.encoders import current_encoder


@dataclass(frozen=True)
class ReadyEncoder:
    """What the workers need: the id at the chosen precision, the file for the chosen runtime, and its shape."""

    encoder_id: str
    path: Path
    input_size: tuple[int, int]
    dimension: int
    choice: Choice


def encoder_spec(config: EmbedConfig) -> EncoderSpec:
    """The encoder that the configuration names.

    Raises: EncoderError for a combination that cannot be meant.
    """
    chosen = config.preprocessing
    return EncoderSpec(
        source=config.encoder,
        weights=config.weights,
        layer=config.layer,
        input_size=config.input_size,
        preprocessing=affine(chosen.mean, chosen.scale)
        if isinstance(chosen, AffinePreprocessing)
        else chosen,
        options=config.options,
    )


def ready_encoder(context: StageContext) -> ReadyEncoder:
    """The configured encoder, from the driver's cache where it has been built and exported before.

    Raises: EncoderError; WeightsUnavailable.
    """
    config = context.config.embed
    spec = encoder_spec(config)
    built = build_encoder(spec, Path(config.cache))
    known = current_encoder(context.tables, config)
    precisions: tuple[Precision, ...] = get_args(Precision)
    recorded = next((p for p in precisions if at_precision(built.encoder_id, p) == known), None)
    machine = Machine.here(dict(context.spark.sparkContext.getConf().getAll()))
    choice = choose(spec.kind, machine, config.runtime, config.precision, recorded)
    return ReadyEncoder(
        at_precision(built.encoder_id, choice.precision),
        export_encoder(built, choice.runtime),
        built.input_size,
        built.dimension,
        choice,
    )
