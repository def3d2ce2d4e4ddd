"""Wires stage `similar`: embeddings to look-alikes, and how good they are."""

from __future__ import annotations

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.errors import RecallError, TableError
from vizrec_spark.kernels.candidates import EVERYTHING
from vizrec_spark.similar.centre import Centre
from vizrec_spark.similar.fit import Fitted, fitted
from vizrec_spark.similar.index import neighbors_of_all
from vizrec_spark.similar.plan import shared_folder
from vizrec_spark.similar.shared import share_vectors
from vizrec_spark.similar.vectors import item_vectors
from vizrec_spark.stage import Stage, StageContext, StageResult
from vizrec_spark.tables import Written
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.schemas import EMBEDDINGS, IMAGES, ITEM_NEIGHBORS, SIMILARITY_QUALITY

_TASKS_PER_CORE = 3


def run(context: StageContext) -> StageResult:
    """Finds the look-alikes of every item with an embedding and replaces this encoder's slice of the tables."""
    tables, config = context.tables, context.config.similar
    encoder_id = current_encoder(tables, context.config.embed)
    if encoder_id is None:
        raise TableError(
            "No embeddings of the configured encoder: run stage `embed` with this configuration first."
        )
    embeddings = tables.read(EMBEDDINGS).where(F.col("encoder_id") == encoder_id)
    with shared_folder(config) as folder:
        vectors = item_vectors(tables.read(IMAGES), embeddings, broadcast=True)
        shared, centre = share_vectors(vectors, folder)
        if shared.n_items == 0:
            gone = [
                tables.overwrite(table, context.spark.createDataFrame([], table.schema), _slice(encoder_id))
                for table in (ITEM_NEIGHBORS, SIMILARITY_QUALITY)
            ]
            return StageResult(gone, ["no item has an embedding, so there is nothing to compare"])
        parts = _TASKS_PER_CORE * context.spark.sparkContext.defaultParallelism
        found = fitted(context.spark, shared, config, EVERYTHING, parts)
        _gate(found, config)
        neighbors = neighbors_of_all(context.spark, found.index.save(), k=config.k, parts=parts)
        written = _publish(context, encoder_id, neighbors)
        quality = _row(encoder_id, "shared", found, centre, config)
        row = context.spark.createDataFrame([quality], SIMILARITY_QUALITY.schema)
        measured = tables.overwrite(SIMILARITY_QUALITY, row, where=_slice(encoder_id))
    return StageResult([written, measured], _notes(quality))


STAGE = Stage("similar", "find the look-alikes of every item", run)


def _slice(encoder_id: str) -> str:
    return f"encoder_id = '{encoder_id}'"


def _publish(context: StageContext, encoder_id: str, neighbors: DataFrame) -> Written:
    rows = neighbors.withColumn("encoder_id", F.lit(encoder_id))
    return context.tables.overwrite(ITEM_NEIGHBORS, rows, where=_slice(encoder_id))


def _gate(found: Fitted, config: SimilarConfig) -> None:
    if found.recall.mean < config.target_recall:
        raise RecallError(
            f"Look-alikes by {found.method} ({found.told}) have recall@{config.k} {found.recall.mean:.3f} on "
            f"{found.recall.n_queries} items, similar.target_recall is {config.target_recall}: the tables keep what "
            "they hold. Set similar.method: auto, or raise similar.probes, similar.tables or similar.rerank."
        )


def _row(
    encoder_id: str, plan: str, found: Fitted, centre: Centre, config: SimilarConfig
) -> dict[str, object]:
    sizes = found.index.lists.sizes
    sizes = sizes[sizes > 0] if found.method in ("cells", "lsh") else np.array([centre.n_items])
    return {
        "encoder_id": encoder_id,
        "method": found.method,
        "plan": plan,
        "setting": found.told,
        "metric": config.metric,
        "fingerprint": "",
        "n_items": centre.n_items,
        "n_searched": centre.n_items,
        "k": config.k,
        "target_recall": config.target_recall,
        "recall": found.recall.mean,
        "recall_lo": found.recall.lo,
        "recall_hi": found.recall.hi,
        "n_queries": found.recall.n_queries,
        "candidates_per_item": found.candidates,
        "n_reranked": found.index.rerank,
        "n_buckets": len(sizes),
        "bucket_histogram": np.bincount(np.log2(sizes).astype(int)).tolist(),
        "bucket_skew": float(np.square(sizes.astype(float)).sum() / sizes.sum() / sizes.mean()),
        "max_bucket_share": found.index.occupancy.largest / centre.n_items,
        "n_split_buckets": found.index.occupancy.split,
        "n_cut_pairs": found.index.occupancy.cut_pairs,
        "mean_cosine": centre.random_pair_cosine,
    }


def _notes(quality: dict[str, object]) -> list[str]:
    head = (
        f"{quality['n_items']:,} items by {quality['method']} ({quality['setting']}, {quality['plan']} plan)"
    )
    if quality["method"] == "exact":
        return [head]
    interval = f"[{quality['recall_lo']:.3f}, {quality['recall_hi']:.3f}]"
    return [
        f"{head}: recall@{quality['k']} {quality['recall']:.3f} {interval} on {quality['n_queries']} items, "
        f"{quality['candidates_per_item']:,.0f} candidates an item"
    ]
