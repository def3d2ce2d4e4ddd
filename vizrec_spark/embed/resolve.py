"""From the configuration to an encoder that can run: built, its runtime and precision chosen, exported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pyspark.sql import functions as F

from vizrec_spark.config.encoders import named_as
from vizrec_spark.config.models import AffinePreprocessing, EmbedConfig
from vizrec_spark.embed.build import BuiltEncoder, build_encoder
from vizrec_spark.embed.choice import Choice, Machine, Recorded, RuntimeName, choose
from vizrec_spark.embed.encoder import EncoderSpec, Kind
from vizrec_spark.embed.export import export_encoder
from vizrec_spark.embed.fingerprint import at_precision
from vizrec_spark.embed.kept import AdaptedRuntime, Shelf, fetched
from vizrec_spark.embed.preprocessing import affine
from vizrec_spark.embed.runtimes import Runtime, load_runtime
from vizrec_spark.errors import EncoderError
from vizrec_spark.kernels.adapted import from_bytes
from vizrec_spark.stage import StageContext
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.fine_tuned import PREFIX, SparkShelf, is_fine_tuned
from vizrec_spark.tables.registry import is_adapted
from vizrec_spark.tables.schemas import EMBEDDINGS


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
        sha256=config.sha256,
    )


def built_encoder(config: EmbedConfig, shelf: Shelf) -> tuple[BuiltEncoder, Kind]:
    """The configured encoder as one file, and its kind: built, or where it is a fine-tuned one taken from `shelf`;
    from the cache where it has been before. Raises: EncoderError; WeightsUnavailable."""
    if is_fine_tuned(config.encoder):
        return fetched(shelf, config.encoder.removeprefix(PREFIX), Path(config.cache)), "file"
    spec = encoder_spec(config)
    return build_encoder(spec, Path(config.cache)), spec.kind


def ready_encoder(context: StageContext) -> ReadyEncoder:
    """The configured encoder, from the driver's cache where it has been built and exported before.

    Raises: EncoderError; WeightsUnavailable.
    """
    config = context.config.embed
    built, kind = built_encoder(config, SparkShelf(context.tables))
    recorded = _recorded(context, built.encoder_id)
    machine = Machine.here(dict(context.spark.sparkContext.getConf().getAll()))
    choice = choose(kind, machine, config.runtime, config.precision, recorded)
    return ReadyEncoder(
        at_precision(built.encoder_id, choice.precision, choice.runtime),
        export_encoder(built, choice.runtime),
        built.input_size,
        built.dimension,
        choice,
    )


def _recorded(context: StageContext, float32_id: str) -> Recorded | None:
    """How the vectors were made under which the configured encoder is published, or else those that it has.

    Vectors without a row in `encoders` are those of a first run that did not end. Where there are some of several
    kinds, none counts.
    """
    tables, ids = context.tables, ids_of(float32_id)
    known = current_encoder(tables, context.config.embed)
    if known is not None:
        return ids.get(known)
    vectors = tables.read_or_empty(EMBEDDINGS)
    found = [how for name, how in ids.items() if not vectors.where(F.col("encoder_id") == name).isEmpty()]
    return found[0] if len(found) == 1 else None


def ids_of(float32_id: str) -> dict[str, Recorded]:
    """How vectors of an encoder may have been made, by the id that they then have."""
    ids = {float32_id: Recorded("float32", None)}
    for runtime in get_args(RuntimeName):
        ids[at_precision(float32_id, "bfloat16", runtime)] = Recorded("bfloat16", runtime)
    return ids


def published_runtime(config: EmbedConfig, encoder_id: str, threads: int, shelf: Shelf) -> Runtime:
    """The encoder that made the vectors of `encoder_id`, in this process, for one picture at a time; without Spark.

    An adapted one is its base with what was learned behind it, both as `shelf` has them.

    Raises: EncoderError when the configuration makes another one, or this machine cannot run it as it was;
    WeightsUnavailable.
    """
    if is_adapted(config.encoder):
        row = shelf.adapted(encoder_id)
        if row is None:
            raise EncoderError(f"the registry has no adapted encoder {encoder_id}: run stage `adapt` again.")
        adapted = from_bytes(bytes(row["weights"]), str(row["sha256"]))
        base = named_as(config, EmbedConfig.model_validate_json(row["base_config"]))
        return AdaptedRuntime(published_runtime(base, row["base_encoder_id"], threads, shelf), adapted)
    built, kind = built_encoder(config, shelf)
    recorded = ids_of(built.encoder_id).get(encoder_id)
    if recorded is None:
        raise EncoderError(
            f"the configuration makes encoder {built.encoder_id}, the vectors are those of {encoder_id}: the weights, "
            "the model file or the release of Keras is another. Use those that stage `embed` had, or run it again."
        )
    choice = choose(kind, Machine.here(), config.runtime, config.precision, recorded)
    if at_precision(built.encoder_id, choice.precision, choice.runtime) != encoder_id:
        raise EncoderError(
            f"the vectors of {encoder_id} were made in {recorded.precision}, the configuration asks for "
            f"{choice.precision} by {choice.runtime}."
        )
    path = export_encoder(built, choice.runtime)
    return load_runtime(choice.runtime, path, precision=choice.precision, batch_size=1, threads=threads)
