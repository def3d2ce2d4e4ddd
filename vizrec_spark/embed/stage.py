"""Wires stage `embed`: pictures without an embedding to vectors, chunk by chunk."""

from __future__ import annotations

from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.embed.chunks import CHUNK_PER_CORE, DataFile, plan_chunks
from vizrec_spark.embed.commit import ChunkWriter
from vizrec_spark.embed.resolve import ReadyEncoder, encoder_spec, ready_encoder
from vizrec_spark.embed.select import missing_keys
from vizrec_spark.stage import Stage, StageContext, StageResult, log
from vizrec_spark.tables import Written
from vizrec_spark.tables.encoders import current_encoder, encoder_key
from vizrec_spark.tables.schemas import EMBEDDINGS, ENCODERS, IMAGES, QUARANTINE

__all__ = ["STAGE", "encoder_spec", "run"]


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
    # Pinned: the chunks commit to `embeddings`, and another run may write `images`, while these frames are in use.
    images = tables.read_at(IMAGES, tables.version(IMAGES)).withColumn("file", F.col("_metadata.file_path"))
    done = tables.read_at(EMBEDDINGS, tables.version(EMBEDDINGS))
    keys = missing_keys(images, done.limit(0) if config.reembed else done, encoder.encoder_id).persist()
    writer = ChunkWriter(context, encoder, images, keys)
    try:
        # A row a data file of `images`, some thousands for ten million pictures.
        waiting = keys.groupBy("file").agg(F.count("*"), F.sum("bytes")).collect()
        files = [DataFile(path, int(n), int(size)) for path, n, size in waiting]
        size = config.chunk or CHUNK_PER_CORE * spark.sparkContext.defaultParallelism
        vectors = writer.encode(plan_chunks(files, size))
        written = [
            vectors,
            tables.overwrite(QUARANTINE, _quarantined(writer.failures, images), where="stage = 'embed'"),
            _published(context, encoder),
        ]
        return StageResult(written, [f"{vectors.changed:,} pictures encoded by {encoder.encoder_id}"])
    finally:
        for frame in (keys, *writer.failures):
            frame.unpersist()


STAGE = Stage("embed", "encode the pictures that have no embedding yet", run)


def _quarantined(failures: list[DataFrame], images: DataFrame) -> DataFrame:
    """A row for each picture of an item that has no vector, also where several show the same bytes."""
    if not failures:
        return images.sparkSession.createDataFrame([], QUARANTINE.schema)
    shown = images.select("sha256", "item_id", "path")
    return (
        reduce(DataFrame.unionByName, failures)
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


def _published(context: StageContext, encoder: ReadyEncoder) -> Written:
    """Lets the later stages find the encoder under this configuration, if they do not yet."""
    tables, config = context.tables, context.config.embed
    if current_encoder(tables, config) == encoder.encoder_id:
        return tables.unchanged(ENCODERS)
    row = (encoder_key(config), encoder.encoder_id, encoder.dimension)
    return tables.upsert(ENCODERS, context.spark.createDataFrame([row], ENCODERS.schema))
