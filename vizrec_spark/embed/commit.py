"""Encode and commit chunk after chunk; each commit stays whatever becomes of the next."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from functools import cached_property

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from vizrec_spark.embed.chunks import Chunk, task_count
from vizrec_spark.embed.failures import Pictures, check_failures
from vizrec_spark.embed.memory import worker_peak_bytes
from vizrec_spark.embed.resolve import ReadyEncoder
from vizrec_spark.embed.select import contents
from vizrec_spark.embed.udf import embed_images, ship_model
from vizrec_spark.errors import TableError
from vizrec_spark.stage import StageContext, log
from vizrec_spark.tables import Written
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.schemas import EMBEDDINGS, IMAGES

_BROADCAST_KEYS = 1_000_000


class ChunkWriter:
    """The part of stage `embed` that works through its chunks.

    images: the table `images` with `file`. keys: what `missing_keys` gives for it, persisted. known: the rows of
    `encoding_failures` of this encoder from before.
    `failures` are the rows of `embed_images` without a vector, a persisted frame for each chunk that has some; the
    caller unpersists them.
    """

    def __init__(
        self,
        context: StageContext,
        encoder: ReadyEncoder,
        images: DataFrame,
        keys: DataFrame,
        known: DataFrame,
    ) -> None:
        self.failures: list[DataFrame] = []
        self._context, self._encoder = context, encoder
        self._images, self._keys, self._known = images, keys, known
        self._waiting = 0
        self._refused: Counter[str] = Counter()
        self._answered = 0

    def encode(self, chunks: Sequence[Chunk]) -> Written:
        """Commits the vectors of all `chunks` to `embeddings`; the sum of what was written.

        Raises: TooManyFailures as soon as `check_failures` finds too many. The chunk at hand is then not committed;
        those before it are, and hold. TableError when pictures that waited have come out neither with a vector nor
        with a reason: the files that held them are gone.
        """
        tables, spark = self._context.tables, self._context.spark
        if not chunks:
            return tables.unchanged(EMBEDDINGS)
        waiting = self._waiting = sum(chunk.pictures for chunk in chunks)
        log.info("embed: %s pictures to encode, chunks: %s", f"{waiting:,}", f"{len(chunks):,}")
        model_file = ship_model(spark, self._encoder.path)
        changed, began = 0, time.monotonic()
        for number, chunk in enumerate(chunks, 1):
            written = self._commit(chunk, model_file)
            changed += written.changed
            log.info(
                "embed: chunk %s of %s committed; %s pictures, %.1f a second; peak memory of a Python worker %s MiB",
                f"{number:,}",
                f"{len(chunks):,}",
                f"{changed:,}",
                changed / max(time.monotonic() - began, 1e-9),
                f"{worker_peak_bytes(spark) >> 20:,}",
            )
        if self._answered != waiting:
            raise TableError(
                f"{waiting:,} pictures waited and {self._answered:,} came out, with a vector or a reason: table "
                "`images` has changed under this run. Run stage `embed` again; it goes on with what is missing."
            )
        return Written(written.table, written.location, written.version, written.rows, changed)

    def _commit(self, chunk: Chunk, model_file: str) -> Written:
        tables, config = self._context.tables, self._context.config.embed
        # Once to disk: the failures are counted before the vectors are written.
        results = self._encoded(chunk, model_file).persist(StorageLevel.DISK_ONLY)
        try:
            counts = {row.reason: row["count"] for row in results.groupBy("reason").count().collect()}
            self._answered += sum(counts.values())
            counts.pop(None, None)
            if counts:
                failed = results.where("reason IS NOT NULL").persist(StorageLevel.DISK_ONLY)
                self.failures.append(failed)
                failed.count()  # while the results are there
                self._refused.update(counts)
                self._stop_at_many_failures()
            write = tables.upsert if config.reembed else tables.insert_missing
            vectors = results.where("reason IS NULL")
            return write(EMBEDDINGS, vectors, {"encoder_id": self._encoder.encoder_id})
        finally:
            results.unpersist()

    def _encoded(self, chunk: Chunk, model_file: str) -> DataFrame:
        config, encoder = self._context.config.embed, self._encoder
        cores = self._context.spark.sparkContext.defaultParallelism
        pictures = self._context.tables.read_files(IMAGES, chunk.files)
        keys = self._keys.where(_in_chunk(chunk))
        return embed_images(
            contents(
                # The names of files are unique; their paths are written in several ways.
                pictures.withColumn("file", F.col("_metadata.file_name")),
                keys.withColumn("file", F.element_at(F.split("file", "/"), -1)),
                num_partitions=config.partitions or task_count(chunk.pictures, chunk.bytes, cores),
                broadcast_keys=chunk.pictures <= _BROADCAST_KEYS,
            ),
            model_file,
            encoder.encoder_id,
            batch_size=config.batch_size,
            max_pixels=self._context.config.ingest.images.max_pixels,
            input_size=encoder.input_size,
            threads=config.threads,
            runtime=encoder.choice.runtime,
            precision=encoder.choice.precision,
        )

    def _stop_at_many_failures(self) -> None:
        config = self._context.config.embed
        published = current_encoder(self._context.tables, config) == self._encoder.encoder_id
        check_failures(self._refused, self._pictures, config.max_failed_share, published=published)

    @cached_property
    def _pictures(self) -> Pictures:
        # Counted once, and only if something has failed.
        shop = self._images.select("sha256").distinct()
        return Pictures(shop.count(), self._known.join(shop, "sha256", "left_semi").count(), self._waiting)


def _in_chunk(chunk: Chunk) -> Column:
    mine = F.col("file").isin(*chunk.files)
    if chunk.parts == 1:
        return mine
    return mine & (F.pmod(F.xxhash64("sha256"), F.lit(chunk.parts)) == chunk.part)
