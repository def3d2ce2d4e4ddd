"""Wires stage `similar`: embeddings to look-alikes, and how good they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.errors import TableError
from vizrec_spark.similar.centre import Centre
from vizrec_spark.similar.duplicates import near_duplicates
from vizrec_spark.similar.filters import asks_anything, asks_catalogue, check_filters
from vizrec_spark.similar.folder import shared_folder
from vizrec_spark.similar.found import Found, fingerprint, notes, quality_row
from vizrec_spark.similar.looks import item_looks, look_axes
from vizrec_spark.similar.memory import Published, shared_search
from vizrec_spark.similar.partitioned import partitioned_search
from vizrec_spark.similar.plan import choose_plan, refuse_impossible, sizes_of
from vizrec_spark.similar.quality import require_recall
from vizrec_spark.similar.vectors import item_contents, item_pictures, item_vectors
from vizrec_spark.stage import Stage, StageContext, StageResult
from vizrec_spark.tables import Table, Written
from vizrec_spark.tables.encoders import known_encoder
from vizrec_spark.tables.schemas import (
    CATEGORY_NEIGHBORS,
    COMPARED_ITEMS,
    EMBEDDINGS,
    IMAGES,
    ITEM_NEIGHBORS,
    ITEMS,
    NEAR_DUPLICATES,
    SIMILARITY_QUALITY,
)

_BROADCAST_ITEMS = 1_000_000  # some 200 bytes each, on the driver

WRITTEN = (ITEM_NEIGHBORS, SIMILARITY_QUALITY, CATEGORY_NEIGHBORS, NEAR_DUPLICATES, COMPARED_ITEMS)
"""All that the stage writes, in the order of its commits."""


def run(context: StageContext) -> StageResult:
    """Finds the look-alikes of every item with an embedding and replaces this encoder's slice of the tables.

    Raises: ConfigError for settings that cannot be here, or filters that cannot be read; TableError when the encoder
    has no embeddings, or a table cannot be written or, for filters and categories, read; RecallError when the measured
    recall is below the target. Then all tables keep what they hold.
    """
    tables, config = context.tables, context.config.similar
    encoder = known_encoder(tables, context.config.embed)
    if encoder is None:
        raise TableError(
            "No embeddings of the configured encoder: run stage `embed` with this configuration first."
        )
    encoder_id = str(encoder.encoder_id)
    refuse_impossible(context.spark.sparkContext.master, config)
    # Without a catalogue nothing is known of any item, and a filter would leave nobody a look-alike.
    asked = config.per_category or asks_catalogue(config.filters)
    catalogue = tables.pinned(ITEMS) if asked else tables.pinned_or_empty(ITEMS)
    check_filters(catalogue, config.filters)
    for table in WRITTEN:  # what is wrong with one of them is said before anything is written
        tables.ensure(table)
    publish = partial(_publish, context, encoder_id)
    # Pinned, so that what was compared is what is recorded, whatever is written to these tables meanwhile.
    images = tables.pinned(IMAGES)
    embeddings = tables.pinned(EMBEDDINGS).where(F.col("encoder_id") == encoder_id)
    pictured = item_pictures(images, embeddings).persist()
    try:
        published = _published(context, encoder_id, item_contents(pictured))
        if published is not None and _stands(published, config):
            told = "the pictures and settings are those of the last run, so its look-alikes stand"
            stood = {"recall": published.recall, "searched": 0.0, "mean_cosine": published.mean_cosine}
            return StageResult([tables.unchanged(table) for table in WRITTEN], [told], stood)
        with _search(context, encoder.dimension, pictured, embeddings, catalogue, published) as found:
            if found is None:
                gone = [publish(table, None) for table in reversed(WRITTEN)]
                told = "no item has an embedding, so there is nothing to compare"
                return StageResult(gone, [told], {"searched": 0.0})
            require_recall(found.recall, found.method, found.setting, config)
            # A run that dies between two commits leaves this empty, and the next one makes everything anew.
            publish(COMPARED_ITEMS, None)
            written = [publish(ITEM_NEIGHBORS, _near_enough(found.neighbors, config))]
            row = quality_row(encoder_id, found, config)
            written.append(
                publish(SIMILARITY_QUALITY, context.spark.createDataFrame([row], SIMILARITY_QUALITY.schema))
            )
            listed, groups = found.by_category, None
            written.append(
                publish(CATEGORY_NEIGHBORS, None if listed is None else _near_enough(listed, config))
            )
            alike, bits = config.near_duplicates.cosine, config.near_duplicates.hash_bits
            if alike is not None:
                pairs = _of_encoder(context, ITEM_NEIGHBORS, encoder_id)
                groups = near_duplicates(pairs, images, cosine=alike, hash_bits=bits)
            written.append(publish(NEAR_DUPLICATES, groups))
            written.append(publish(COMPARED_ITEMS, _compared(pictured, embeddings, found.centre, config)))
            metrics = {
                "recall": found.recall.mean,
                "searched": float(found.searched),
                "mean_cosine": found.centre.random_pair_cosine,
            }
            return StageResult(written, notes(found, config), metrics)
    finally:
        pictured.unpersist()


STAGE = Stage("similar", "find the look-alikes of every item", run)


@contextmanager
def _search(
    context: StageContext,
    dimension: int,
    pictured: DataFrame,
    embeddings: DataFrame,
    catalogue: DataFrame,
    published: Published | None,
) -> Iterator[Found | None]:
    config = context.config.similar
    sizes = sizes_of(context.spark, pictured.count(), dimension, config)
    if choose_plan(sizes, config) == "partitioned":
        vectors = item_vectors(pictured, embeddings)
        with partitioned_search(vectors, sizes.n_items, catalogue, config) as found:
            yield found
        return
    with shared_folder(config.shared_dir) as folder:
        vectors = item_vectors(pictured, embeddings, broadcast=sizes.n_items <= _BROADCAST_ITEMS)
        with shared_search(vectors, dimension, catalogue, folder, config, published) as found:
            yield found


def _compared(pictured: DataFrame, embeddings: DataFrame, centre: Centre, config: SimilarConfig) -> DataFrame:
    """item_id, content, looks. Runs a job."""
    vectors = item_vectors(pictured, embeddings, broadcast=centre.n_items <= _BROADCAST_ITEMS)
    looks = item_looks(vectors, look_axes(vectors, centre, config))
    return item_contents(pictured).join(looks, "item_id")


def _published(context: StageContext, encoder_id: str, now: DataFrame) -> Published | None:
    """What earlier runs with these settings have left, where it can be brought up to date."""
    tables, config = context.tables, context.config.similar
    # What filters ask of the catalogue may change with no picture changing; categories need everyone's candidates.
    if not config.incremental_below or asks_anything(config.filters) or config.per_category:
        return None
    # By distance, a list that was cut by its cosines does not tell where it would have ended.
    if config.filters.min_cosine is not None and config.metric != "cosine":
        return None
    if tables.is_empty(SIMILARITY_QUALITY):  # nobody has searched yet
        return None
    quality = _of_encoder(context, SIMILARITY_QUALITY, encoder_id).first()
    if quality is None or quality.fingerprint != fingerprint(config):
        return None
    before = _of_encoder(context, COMPARED_ITEMS, encoder_id).select("encoder_id", "item_id", "content")
    if before.isEmpty():  # the last run did not come to its end
        return None
    # Pinned, because the lists are replaced while they are read.
    neighbors = tables.pinned(ITEM_NEIGHBORS).where(F.col("encoder_id") == encoder_id)
    return Published(
        neighbors, quality.method, quality.n_items, before, now, quality.recall, quality.mean_cosine
    )


def _stands(published: Published, config: SimilarConfig) -> bool:
    """Whether every list is there, whole, and no item differs from what was compared. Runs two jobs."""
    if config.filters.min_cosine is not None:  # how long a list must be is not known
        return False
    whole = published.n_items * min(config.k, published.n_items - 1)  # `incremental.changes` asks as well
    if published.neighbors.count() != whole:
        return False
    old = published.before.select("item_id", F.col("content").alias("was"))
    return published.now.join(old, "item_id", "full").where("NOT (content <=> was)").isEmpty()


def _near_enough(neighbors: DataFrame, config: SimilarConfig) -> DataFrame:
    weakest = config.filters.min_cosine
    if weakest is None:
        return neighbors
    kept = neighbors.where(F.col("cosine") >= weakest)
    if config.metric == "cosine":  # the end of each list goes
        return kept
    lists = [name for name in ("item_id", "category") if name in kept.columns]
    return kept.withColumn("rank", F.row_number().over(Window.partitionBy(*lists).orderBy("rank")))


def _of_encoder(context: StageContext, table: Table, encoder_id: str) -> DataFrame:
    return context.tables.read(table).where(F.col("encoder_id") == encoder_id)


def _publish(context: StageContext, encoder_id: str, table: Table, rows: DataFrame | None) -> Written:
    """Replaces the encoder's slice of `table`; None empties it."""
    if rows is None:  # a whole partition: no data is looked at
        return context.tables.delete(table, F.col("encoder_id") == encoder_id)
    stamped = rows.withColumn("encoder_id", F.lit(encoder_id))
    return context.tables.overwrite(table, stamped, where=f"encoder_id = '{encoder_id}'")
