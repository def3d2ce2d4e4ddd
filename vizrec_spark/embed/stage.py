"""Wires stage `embed`: pictures without an embedding to vectors, chunk by chunk."""

from __future__ import annotations

import time
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import Config
from vizrec_spark.embed.adapted import run_adapted
from vizrec_spark.embed.applications import check_encoder
from vizrec_spark.embed.chunks import DataFile, chunk_size, plan_chunks
from vizrec_spark.embed.commit import ChunkWriter
from vizrec_spark.embed.failures import TooManyFailures, quarantine_rows
from vizrec_spark.embed.resolve import ReadyEncoder, encoder_spec, ready_encoder
from vizrec_spark.embed.select import missing_keys
from vizrec_spark.stage import Stage, StageContext, StageResult, log
from vizrec_spark.tables import Written
from vizrec_spark.tables.encoders import current_encoder, encoder_key
from vizrec_spark.tables.fine_tuned import is_fine_tuned, require_alone
from vizrec_spark.tables.registry import is_adapted, name_and_stage
from vizrec_spark.tables.schemas import EMBEDDINGS, ENCODERS, ENCODING_FAILURES, IMAGES, QUARANTINE

__all__ = ["STAGE", "encoder_spec", "run"]


def run(context: StageContext) -> StageResult:
    """Brings the vectors of the configured encoder up to date: `run_plain`, or for an adapted one `run_adapted`."""
    if is_adapted(context.config.embed.encoder):
        return run_adapted(context, run_plain)
    return run_plain(context)


def run_plain(context: StageContext) -> StageResult:
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
    mine = F.col("encoder_id") == encoder.encoder_id
    if config.reembed:
        tables.delete(ENCODING_FAILURES, mine)
    tables.ensure(ENCODING_FAILURES)
    # Pinned: the chunks commit to `embeddings`, and another run may write `images`, while these frames are in use.
    images_version = tables.version(IMAGES)
    images = tables.read_at(IMAGES, images_version).withColumn("file", F.col("_metadata.file_path"))
    done = tables.pinned(EMBEDDINGS).select("sha256", "encoder_id")
    known = tables.pinned(ENCODING_FAILURES).where(mine)
    settled = (
        known.select("sha256", "encoder_id")
        if config.reembed
        else done.unionByName(known.select(*done.columns))
    )
    keys = missing_keys(images, settled, encoder.encoder_id).persist()
    writer = ChunkWriter(context, encoder, images, keys, known)
    try:
        # A row a data file of `images`, some thousands for ten million pictures.
        waiting = keys.groupBy("file").agg(F.count("*"), F.sum("bytes")).collect()
        files = [DataFile(path, int(n), int(size)) for path, n, size in waiting]
        if (before := known.count()) > 0:
            log.info(
                "embed: %s pictures failed in earlier runs and are left out; --reembed tries them again",
                f"{before:,}",
            )
        began = time.monotonic()
        size = chunk_size(config.chunk, spark.sparkContext.defaultParallelism)
        try:
            vectors = writer.encode(plan_chunks(files, size))
        except TooManyFailures:
            _quarantine(context, [known, *writer.failures], images)
            raise
        metrics = {"images_version": float(images_version), "pictures": float(vectors.changed)}
        if vectors.changed:
            metrics["pictures_per_second"] = vectors.changed / max(time.monotonic() - began, 1e-9)
        written = [
            vectors,
            _quarantine(context, [known, *writer.failures], images),
            _remembered(context, writer.failures),
            _published(context, encoder),
        ]
        told = [f"{vectors.changed:,} pictures encoded by {encoder.encoder_id}"]
        return StageResult(written, told, metrics)
    finally:
        for frame in (keys, *writer.failures):
            frame.unpersist()


def check(config: Config) -> None:
    """Raises: EncoderError for an encoder that cannot be meant."""
    if is_adapted(config.embed.encoder):
        name_and_stage(config.embed.encoder)
    elif is_fine_tuned(config.embed.encoder):  # the tables know
        require_alone(config.embed)
    else:
        check_encoder(encoder_spec(config.embed))


STAGE = Stage("embed", "encode the pictures that have no embedding yet", run, check)


def _quarantine(context: StageContext, failures: list[DataFrame], images: DataFrame) -> Written:
    columns = ["sha256", "reason", "message"]
    together = reduce(DataFrame.unionByName, (frame.select(*columns) for frame in failures))
    return context.tables.overwrite(QUARANTINE, quarantine_rows(together, images), where="stage = 'embed'")


def _remembered(context: StageContext, failures: list[DataFrame]) -> Written:
    """Writes down what failed, for the runs to come; only a run that was not stopped gets here."""
    if not failures:
        return context.tables.unchanged(ENCODING_FAILURES)
    return context.tables.upsert(ENCODING_FAILURES, reduce(DataFrame.unionByName, failures))


def _published(context: StageContext, encoder: ReadyEncoder) -> Written:
    """Lets the later stages find the encoder under this configuration, if they do not yet."""
    tables, config = context.tables, context.config.embed
    if current_encoder(tables, config) == encoder.encoder_id:
        return tables.unchanged(ENCODERS)
    row = (encoder_key(config), encoder.encoder_id, encoder.dimension)
    return tables.upsert(ENCODERS, context.spark.createDataFrame([row], ENCODERS.schema))
