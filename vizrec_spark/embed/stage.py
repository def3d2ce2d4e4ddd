"""Wires stage `embed`: pictures without an embedding to vectors, chunk by chunk."""

from __future__ import annotations

import time
from collections import Counter
from functools import reduce

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.embed.chunks import CHUNK_PER_CORE, Chunk, DataFile, plan_chunks, task_count
from vizrec_spark.embed.memory import worker_peak_bytes
from vizrec_spark.embed.resolve import ReadyEncoder, encoder_spec, ready_encoder
from vizrec_spark.embed.select import contents, missing_keys
from vizrec_spark.embed.udf import EMBEDDED_SCHEMA, embed_images, ship_model
from vizrec_spark.errors import EncoderError
from vizrec_spark.stage import Stage, StageContext, StageResult, log
from vizrec_spark.tables import Written
from vizrec_spark.tables.encoders import encoder_key
from vizrec_spark.tables.schemas import EMBEDDINGS, ENCODERS, IMAGES, QUARANTINE

__all__ = ["STAGE", "encoder_spec", "run"]

_BROADCAST_KEYS = 1_000_000


def run(context: StageContext) -> StageResult:
    """Encodes each distinct picture that the configured encoder has not seen yet.

    Each chunk is one commit to `embeddings`, which stays whatever becomes of the run. Last of all the row of
    `encoders` is written, by which the later stages find the encoder: a first run that fails publishes nothing.
    """
    spark, tables, config = context.spark, context.tables, context.config.embed
    encoder = ready_encoder(context)
    choice = encoder.choice
    log.info("embed: encoder %s gives %d numbers a picture", encoder.encoder_id, encoder.dimension)
    log.info("embed: runtime %s in %s: %s", choice.runtime, choice.precision, choice.why)
    tables.ensure(EMBEDDINGS)
    images = tables.read(IMAGES).withColumn("file", F.col("_metadata.file_path"))
    done = tables.read(EMBEDDINGS)
    keys = missing_keys(images, done.limit(0) if config.reembed else done, encoder.encoder_id).persist()
    failures: list[DataFrame] = []
    try:
        # A row a data file of `images`, some thousands for ten million pictures.
        waiting = keys.groupBy("file").agg(F.count("*"), F.sum("bytes")).collect()
        files = [DataFile(path, int(n), int(size)) for path, n, size in waiting]
        size = config.chunk or CHUNK_PER_CORE * spark.sparkContext.defaultParallelism
        vectors = _encode_chunks(context, encoder, images, keys, plan_chunks(files, size), failures)
        written = [
            vectors,
            tables.overwrite(QUARANTINE, _quarantined(spark, failures, images), where="stage = 'embed'"),
            tables.upsert(ENCODERS, _encoder_row(context, encoder)),
        ]
        return StageResult(written, [f"{vectors.changed:,} pictures encoded by {encoder.encoder_id}"])
    finally:
        for frame in (keys, *failures):
            frame.unpersist()


STAGE = Stage("embed", "encode the pictures that have no embedding yet", run)


def _encode_chunks(
    context: StageContext,
    encoder: ReadyEncoder,
    images: DataFrame,
    keys: DataFrame,
    chunks: list[Chunk],
    failures: list[DataFrame],
) -> Written:
    """Encodes and commits chunk after chunk; the sum of what was written. Adds what failed to `failures`."""
    n_waiting = sum(chunk.pictures for chunk in chunks)
    if not chunks:
        return context.tables.insert_missing(EMBEDDINGS, context.tables.read(EMBEDDINGS).limit(0))
    log.info("embed: %s pictures to encode in %s", f"{n_waiting:,}", _counted(len(chunks), "chunk"))
    # Of all pictures: those that failed before are missing again, and must not stop every later run.
    n_pictures = images.select("sha256").distinct().count()
    model_file = ship_model(context.spark, encoder.path)
    refused: Counter[str] = Counter()
    changed, looked_at, began = 0, 0, time.monotonic()
    for number, chunk in enumerate(chunks, 1):
        written = _encode_chunk(
            context, encoder, model_file, images, keys, chunk, failures, refused, n_pictures
        )
        changed, looked_at = changed + written.changed, looked_at + chunk.pictures
        rate = changed / max(time.monotonic() - began, 1e-9)
        log.info(
            "embed: chunk %d of %d committed, %s pictures encoded, %.1f a second, peak memory %s MiB a Python worker",
            number,
            len(chunks),
            f"{changed:,}",
            rate,
            f"{worker_peak_bytes(context.spark) >> 20:,}",
        )
    return Written(written.table, written.location, written.version, written.rows, changed)


def _encode_chunk(
    context: StageContext,
    encoder: ReadyEncoder,
    model_file: str,
    images: DataFrame,
    keys: DataFrame,
    chunk: Chunk,
    failures: list[DataFrame],
    refused: Counter[str],
    n_pictures: int,
) -> Written:
    config = context.config.embed
    cores = context.spark.sparkContext.defaultParallelism
    results = embed_images(
        contents(
            images.where(F.col("file").isin(*chunk.files)),
            keys.where(_in_chunk(chunk)),
            num_partitions=config.partitions or task_count(chunk.pictures, chunk.bytes, cores),
            broadcast_keys=chunk.pictures <= _BROADCAST_KEYS,
        ),
        model_file,
        encoder.encoder_id,
        batch_size=config.batch_size,
        max_pixels=context.config.ingest.images.max_pixels,
        input_size=encoder.input_size,
        threads=config.threads,
        runtime=encoder.choice.runtime,
        precision=encoder.choice.precision,
    ).persist(StorageLevel.DISK_ONLY)
    try:
        failures.append(results.where("reason IS NOT NULL").persist(StorageLevel.DISK_ONLY))
        refused.update({row.reason: row["count"] for row in failures[-1].groupBy("reason").count().collect()})
        _refuse_many_failures(refused, n_pictures, config.max_failed_share)
        within = {"encoder_id": encoder.encoder_id}
        write = context.tables.upsert if config.reembed else context.tables.insert_missing
        return write(EMBEDDINGS, results.where("reason IS NULL"), within)
    finally:
        results.unpersist()


def _in_chunk(chunk: Chunk) -> F.Column:
    mine = F.col("file").isin(*chunk.files)
    return (
        mine if chunk.parts == 1 else mine & (F.pmod(F.xxhash64("sha256"), F.lit(chunk.parts)) == chunk.part)
    )


def _refuse_many_failures(refused: Counter[str], n_pictures: int, allowed: float) -> None:
    if refused.total() > allowed * n_pictures:
        told = ", ".join(f"{reason} {count:,}" for reason, count in sorted(refused.items()))
        raise EncoderError(
            f"{refused.total():,} of {n_pictures:,} pictures could not be encoded ({told}), more than "
            f"embed.max_failed_share ({allowed:g}) allows. Nothing was published. Check the encoder and the pictures."
        )


def _quarantined(spark: object, failures: list[DataFrame], images: DataFrame) -> DataFrame:
    """A row for each picture of an item that has no vector, also where several show the same bytes."""
    none = images.sparkSession.createDataFrame([], EMBEDDED_SCHEMA)
    shown = images.select("sha256", "item_id", "path")
    return (
        reduce(DataFrame.unionByName, failures, none)
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


def _encoder_row(context: StageContext, encoder: ReadyEncoder) -> DataFrame:
    row = (encoder_key(context.config.embed), encoder.encoder_id, encoder.dimension)
    return context.spark.createDataFrame([row], ENCODERS.schema)


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
