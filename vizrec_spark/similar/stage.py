"""Wires stage `similar`: embeddings to look-alikes, and how good they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.errors import TableError
from vizrec_spark.similar.categories import nearest_by_category
from vizrec_spark.similar.duplicates import near_duplicates
from vizrec_spark.similar.found import Found, fingerprint, gate, notes, quality_row
from vizrec_spark.similar.memory import Published, shared_search
from vizrec_spark.similar.partitioned import partitioned_search
from vizrec_spark.similar.plan import choose_plan, shared_folder, sizes_of
from vizrec_spark.similar.vectors import item_contents, item_vectors
from vizrec_spark.stage import Stage, StageContext, StageResult
from vizrec_spark.tables import Table, Written
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.schemas import (
    CATEGORY_NEIGHBORS,
    COMPARED_ITEMS,
    EMBEDDINGS,
    ENCODERS,
    IMAGES,
    ITEM_NEIGHBORS,
    ITEMS,
    NEAR_DUPLICATES,
    SIMILARITY_QUALITY,
)


def run(context: StageContext) -> StageResult:
    """Finds the look-alikes of every item with an embedding and replaces this encoder's slice of the tables.

    Raises: TableError when the encoder has no embeddings; RecallError when the measured recall is below the target.
    """
    tables, config = context.tables, context.config.similar
    encoder_id = current_encoder(tables, context.config.embed)
    if encoder_id is None:
        raise TableError(
            "No embeddings of the configured encoder: run stage `embed` with this configuration first."
        )
    publish = partial(_publish, context, encoder_id)
    images = tables.read(IMAGES)
    now = item_contents(images, _of_encoder(context, EMBEDDINGS, encoder_id))
    with _search(context, encoder_id) as found:
        if found is None:
            gone = [publish(table, None) for table in (ITEM_NEIGHBORS, SIMILARITY_QUALITY, COMPARED_ITEMS)]
            return StageResult(gone, ["no item has an embedding, so there is nothing to compare"])
        gate(found, config)
        written = [publish(ITEM_NEIGHBORS, found.neighbors)]
        row = quality_row(encoder_id, found, config)
        written.append(
            publish(SIMILARITY_QUALITY, context.spark.createDataFrame([row], SIMILARITY_QUALITY.schema))
        )
        if config.per_category:
            catalogue = tables.read(ITEMS)
            listed = nearest_by_category(found.deep, catalogue, k=config.per_category, metric=config.metric)
            written.append(publish(CATEGORY_NEIGHBORS, listed))
        alike, bits = config.near_duplicates.cosine, config.near_duplicates.hash_bits
        if alike is not None:
            pairs = _of_encoder(context, ITEM_NEIGHBORS, encoder_id)
            groups = near_duplicates(pairs, images, cosine=alike, hash_bits=bits)
            written.append(publish(NEAR_DUPLICATES, groups))
        # Last, so that a run that dies before is not taken for done.
        written.append(publish(COMPARED_ITEMS, now))
        return StageResult(written, notes(found, config))


STAGE = Stage("similar", "find the look-alikes of every item", run)


@contextmanager
def _search(context: StageContext, encoder_id: str) -> Iterator[Found | None]:
    tables, config = context.tables, context.config.similar
    embeddings = _of_encoder(context, EMBEDDINGS, encoder_id)
    images = tables.read(IMAGES)
    # Delta counts from its log; pictures are at least as many as items.
    known = tables.read(ENCODERS).where(F.col("encoder_id") == encoder_id).collect()[0]
    sizes = sizes_of(context.spark, embeddings.count(), known.dimension, config)
    if choose_plan(sizes, config) == "partitioned":
        with partitioned_search(item_vectors(images, embeddings), config) as found:
            yield found
        return
    with shared_folder(config) as folder:
        vectors = item_vectors(images, embeddings, broadcast=True)
        published = _published(context, encoder_id, item_contents(images, embeddings))
        items = tables.read_or_empty(ITEMS)
        yield shared_search(vectors, known.dimension, items, folder, config, published)


def _published(context: StageContext, encoder_id: str, now: DataFrame) -> Published | None:
    """What earlier runs with these settings have left, where it can be brought up to date."""
    tables, config = context.tables, context.config.similar
    filters = config.filters
    # What filters ask of the catalogue may change with no picture changing.
    filtered = filters.where or filters.same or filters.price_band or filters.exclude
    if not config.incremental_below or filtered or not tables.exists(COMPARED_ITEMS):
        return None
    quality = _of_encoder(context, SIMILARITY_QUALITY, encoder_id).first()
    if quality is None or quality.fingerprint != fingerprint(config):
        return None
    return Published(
        _of_encoder(context, ITEM_NEIGHBORS, encoder_id),
        _of_encoder(context, COMPARED_ITEMS, encoder_id),
        now,
    )


def _of_encoder(context: StageContext, table: Table, encoder_id: str) -> DataFrame:
    return context.tables.read(table).where(F.col("encoder_id") == encoder_id)


def _publish(context: StageContext, encoder_id: str, table: Table, rows: DataFrame | None) -> Written:
    """Replaces the encoder's slice of `table`; None empties it."""
    if rows is None:
        rows = context.spark.createDataFrame([], table.schema)
    stamped = rows.withColumn("encoder_id", F.lit(encoder_id))
    return context.tables.overwrite(table, stamped, where=f"encoder_id = '{encoder_id}'")
