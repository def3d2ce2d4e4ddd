"""Wires stage `similar`: embeddings to look-alikes, and how good they are."""

from __future__ import annotations

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.errors import TableError
from vizrec_spark.similar.approximate import lsh_neighbors
from vizrec_spark.similar.blocks import pack_blocks
from vizrec_spark.similar.buckets import assign_buckets, bucket_statistics
from vizrec_spark.similar.centre import Centre, collect_centre
from vizrec_spark.similar.exact import exact_block_join
from vizrec_spark.similar.lsh import LshParams, choose_params
from vizrec_spark.similar.plan import choose_method
from vizrec_spark.similar.quality import Recall, centred_cosines, recall_at_k, recall_interval, sample_queries
from vizrec_spark.similar.vectors import item_vectors
from vizrec_spark.stage import Stage, StageContext, StageResult, log
from vizrec_spark.tables import Written
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.schemas import EMBEDDINGS, IMAGES, ITEM_NEIGHBORS, SIMILARITY_QUALITY

_TUNING_QUERIES = 50


def run(context: StageContext) -> StageResult:
    """Finds the look-alikes of every item with an embedding and replaces this encoder's slice of the tables."""
    tables, config = context.tables, context.config.similar
    encoder_id = current_encoder(tables, context.config.embed)
    if encoder_id is None:
        raise TableError(
            "No embeddings of the configured encoder: run stage `embed` with this configuration first."
        )
    embeddings = tables.read(EMBEDDINGS).where(F.col("encoder_id") == encoder_id)
    vectors = item_vectors(tables.read(IMAGES), embeddings).persist()
    # Both sides of the self-join, or the base that tuning and measuring go through: packed once.
    blocks = pack_blocks(vectors, block_rows=config.block_rows).persist(StorageLevel.DISK_ONLY)
    try:
        n_items = vectors.count()
        if n_items == 0:
            gone = [
                tables.overwrite(table, context.spark.createDataFrame([], table.schema), _slice(encoder_id))
                for table in (ITEM_NEIGHBORS, SIMILARITY_QUALITY)
            ]
            return StageResult(gone, ["no item has an embedding, so there is nothing to compare"])
        method = choose_method(config.method, n_items, config.exact_below)
        log.info("similar: %s join of %s items (similar.method: %s)", method, f"{n_items:,}", config.method)
        centre = collect_centre(vectors)
        if method == "exact":
            neighbors = exact_block_join(
                blocks, blocks, k=config.k, metric=config.metric, block_rows=config.block_rows
            )
            written = _publish(context, encoder_id, neighbors)
            quality = _row(
                encoder_id,
                "exact",
                centre,
                config.k,
                Recall(1.0, 1.0, 1.0, n_items),
                (float(n_items - 1), 1.0, 0),
            )
        else:
            params = _params(vectors, blocks, centre, config)
            log.info("similar: %d hash tables of %d bits", params.tables, params.bits)
            neighbors = lsh_neighbors(vectors, params, centre, k=config.k, metric=config.metric)
            written = _publish(context, encoder_id, neighbors)
            found = tables.read(ITEM_NEIGHBORS).where(F.col("encoder_id") == encoder_id)
            recall = _recall(vectors, blocks, found, config)
            stats = bucket_statistics(assign_buckets(vectors, params, centre), params).collect()[0]
            buckets = (stats.candidates_per_item, stats.max_bucket_share, stats.n_split_buckets)
            quality = _row(encoder_id, "lsh", centre, config.k, recall, buckets)
        row = context.spark.createDataFrame([quality], SIMILARITY_QUALITY.schema)
        measured = tables.overwrite(SIMILARITY_QUALITY, row, where=_slice(encoder_id))
        return StageResult([written, measured], _notes(quality, config))
    finally:
        blocks.unpersist()
        vectors.unpersist()


STAGE = Stage("similar", "find the look-alikes of every item", run)


def _slice(encoder_id: str) -> str:
    return f"encoder_id = '{encoder_id}'"


def _publish(context: StageContext, encoder_id: str, neighbors: DataFrame) -> Written:
    rows = neighbors.withColumn("encoder_id", F.lit(encoder_id))
    return context.tables.overwrite(ITEM_NEIGHBORS, rows, where=_slice(encoder_id))


def _params(vectors: DataFrame, blocks: DataFrame, centre: Centre, config: SimilarConfig) -> LshParams:
    """Tables and bits for these vectors: how near true neighbours are is taken from a small exact join.

    Its queries are other ones than those that the recall is measured on.
    """
    queries = sample_queries(vectors, _TUNING_QUERIES, seed=config.seed + 1)
    nearest = _nearest(queries, blocks, config)
    sample = [row.centred_cosine for row in centred_cosines(nearest, vectors, centre).collect()]
    return choose_params(
        centre.n_items,
        target_recall=config.target_recall,
        tables=config.tables,
        bits=config.bits,
        neighbor_cosines=sample,
        seed=config.seed,
        bucket_cap=config.bucket_cap,
    )


def _recall(vectors: DataFrame, blocks: DataFrame, found: DataFrame, config: SimilarConfig) -> Recall:
    queries = sample_queries(vectors, config.recall_queries, seed=config.seed)
    exact = _nearest(queries, blocks, config)
    per_query = recall_at_k(found, exact, metric=config.metric).collect()
    if not per_query:  # a single item has no neighbours to find
        return Recall(1.0, 1.0, 1.0, 0)
    return recall_interval([row.recall for row in per_query], seed=config.seed)


def _nearest(queries: DataFrame, blocks: DataFrame, config: SimilarConfig) -> DataFrame:
    asked = pack_blocks(queries, block_rows=config.block_rows)
    return exact_block_join(asked, blocks, k=config.k, metric=config.metric, block_rows=config.block_rows)


def _row(
    encoder_id: str, method: str, centre: Centre, k: int, recall: Recall, buckets: tuple[float, float, int]
) -> dict[str, object]:
    candidates_per_item, max_bucket_share, n_split_buckets = buckets
    return {
        "encoder_id": encoder_id,
        "method": method,
        "n_items": centre.n_items,
        "k": k,
        "recall": recall.mean,
        "recall_lo": recall.lo,
        "recall_hi": recall.hi,
        "n_queries": recall.n_queries,
        "candidates_per_item": float(candidates_per_item),
        "max_bucket_share": float(max_bucket_share),
        "n_split_buckets": int(n_split_buckets),
        "mean_cosine": centre.random_pair_cosine,
    }


def _notes(quality: dict[str, object], config: SimilarConfig) -> list[str]:
    head = f"{quality['n_items']:,} items by {quality['method']} join"
    if quality["method"] == "exact":
        return [head]
    interval = f"[{quality['recall_lo']:.3f}, {quality['recall_hi']:.3f}]"
    told = f"{head}: recall@{quality['k']} {quality['recall']:.3f} {interval}"
    notes = [
        f"{told} on {quality['n_queries']} items, {quality['candidates_per_item']:,.0f} candidates an item"
    ]
    if float(str(quality["recall"])) < config.target_recall:
        notes.append(f"recall is below similar.target_recall ({config.target_recall}): raise similar.tables")
    return notes
