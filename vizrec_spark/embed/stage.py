"""Wires stage `embed`: pictures without an embedding to vectors."""

from __future__ import annotations

from pathlib import Path

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import AffinePreprocessing, Config, EmbedConfig
from vizrec_spark.embed.applications import check_encoder
from vizrec_spark.embed.build import BuiltEncoder, build_encoder
from vizrec_spark.embed.encoder import EncoderSpec
from vizrec_spark.embed.preprocessing import affine
from vizrec_spark.embed.select import missing_images, missing_keys
from vizrec_spark.embed.udf import embed_images, ship_model
from vizrec_spark.errors import EncoderError
from vizrec_spark.stage import Stage, StageContext, StageResult, log
from vizrec_spark.tables.encoders import encoder_key
from vizrec_spark.tables.schemas import EMBEDDINGS, ENCODERS, IMAGES, QUARANTINE

_IMAGES_PER_PARTITION = 1_000
_BROADCAST_KEYS = 1_000_000


def run(context: StageContext) -> StageResult:
    """Encodes each distinct picture that the configured encoder has not seen yet."""
    spark, tables, config = context.spark, context.tables, context.config.embed
    encoder = build_encoder(encoder_spec(config), Path(config.cache))
    log.info("embed: encoder %s gives %d numbers a picture", encoder.encoder_id, encoder.dimension)
    tables.ensure(EMBEDDINGS)
    images, done = tables.read(IMAGES), tables.read(EMBEDDINGS)
    keys = missing_keys(images, done, encoder.encoder_id).persist()
    results: DataFrame | None = None
    try:
        n_missing = keys.count()
        pictures = missing_images(
            images,
            done,
            encoder.encoder_id,
            num_partitions=config.partitions or _partitions(context, n_missing),
            broadcast_keys=n_missing <= _BROADCAST_KEYS,
        )
        results = embed_images(
            pictures,
            ship_model(spark, encoder.path),
            encoder.encoder_id,
            batch_size=config.batch_size,
            max_pixels=context.config.ingest.images.max_pixels,
            input_size=encoder.input_size,
            threads=config.threads,
        ).persist(StorageLevel.DISK_ONLY)
        if n_missing:
            log.info("embed: %s pictures to encode", f"{n_missing:,}")
            # Of all pictures: those that failed before are missing again, and must not stop every later run.
            n_pictures = images.select("sha256").distinct().count()
            _refuse_many_failures(results, n_pictures, config.max_failed_share)
        written = [
            tables.insert_missing(EMBEDDINGS, results.where("reason IS NULL")),
            tables.overwrite(QUARANTINE, _failures(results, images), where="stage = 'embed'"),
            tables.upsert(ENCODERS, _encoder_row(context, encoder)),
        ]
        return StageResult(written, [f"{written[0].changed:,} pictures encoded by {encoder.encoder_id}"])
    finally:
        keys.unpersist()
        if results is not None:
            results.unpersist()


def check(config: Config) -> None:
    """Raises: EncoderError for an encoder that cannot be meant."""
    check_encoder(encoder_spec(config.embed))


STAGE = Stage("embed", "encode the pictures that have no embedding yet", run, check)


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


def _partitions(context: StageContext, n_missing: int) -> int:
    """Some for each core, so that none waits long for the last, and none so large that a retry is dear."""
    cores = context.spark.sparkContext.defaultParallelism
    return max(min(4 * cores, n_missing), -(-n_missing // _IMAGES_PER_PARTITION), 1)


def _refuse_many_failures(results: DataFrame, n_pictures: int, allowed: float) -> None:
    failed = results.where("reason IS NOT NULL").groupBy("reason").count().collect()
    n_failed = sum(row["count"] for row in failed)
    if n_failed > allowed * n_pictures:
        told = ", ".join(f"{row.reason} {row['count']:,}" for row in failed)
        raise EncoderError(
            f"{n_failed:,} of {n_pictures:,} pictures could not be encoded ({told}), more than "
            f"embed.max_failed_share ({allowed:g}) allows. Nothing was published. Check the encoder and the pictures."
        )


def _failures(results: DataFrame, images: DataFrame) -> DataFrame:
    """A row for each picture of an item that has no vector, also where several show the same bytes."""
    shown = images.select("sha256", "item_id", "path")
    return (
        results.where("reason IS NOT NULL")
        .join(shown, "sha256")
        .select(
            F.lit("embed").alias("stage"),
            F.lit("images").alias("source"),
            "reason",
            "message",
            F.col("item_id").alias("key"),
            F.col("path").alias("record"),
        )
    )


def _encoder_row(context: StageContext, encoder: BuiltEncoder) -> DataFrame:
    row = (encoder_key(context.config.embed), encoder.encoder_id, encoder.dimension)
    return context.spark.createDataFrame([row], ENCODERS.schema)
