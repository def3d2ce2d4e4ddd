"""Wires stage `recommend`: everything known so far becomes a ranked list for every user, and one for every item."""

from __future__ import annotations

from pyspark.sql import functions as F

from vizrec_spark.errors import TableError
from vizrec_spark.recommend.blend import Blend, describe_weights
from vizrec_spark.recommend.history import touched_pairs
from vizrec_spark.recommend.hybrid import Inputs, fit_hybrid, recommend_with
from vizrec_spark.recommend.item_to_item import item_lists
from vizrec_spark.recommend.looks import item_pictures
from vizrec_spark.recommend.weights import weight_rows
from vizrec_spark.stage import Stage, StageContext, StageResult
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.schemas import (
    BLEND_WEIGHTS,
    EMBEDDINGS,
    IMAGES,
    INTERACTIONS,
    ITEM_FACTORS,
    ITEM_NEIGHBORS,
    ITEM_RECOMMENDATIONS,
    ITEMS,
    NEAR_DUPLICATES,
    RECOMMENDATIONS,
    SIMILARITY_QUALITY,
    USER_FACTORS,
    USERS,
)


def run(context: StageContext) -> StageResult:
    """Learns the blend, scores every user of table `users` and replaces the stage's tables."""
    spark, tables, config = context.spark, context.tables, context.config.recommend
    model_id = _one_model(tables)
    encoder_id = current_encoder(tables, context.config.embed)
    inputs, has_looks = _inputs(context, encoder_id)
    # Each is read more than once, and each is an aggregation or a join of whole tables.
    inputs.touched.persist()
    inputs.pictures.persist()
    try:
        hybrid = fit_hybrid(inputs, config, context.config.als)
        shared = spark.sparkContext.broadcast(hybrid.side)
        try:
            scored = recommend_with(
                shared, hybrid.blend, inputs, tables.read(USERS), config, context.config.als
            )
            stamps = {
                "model_id": F.lit(model_id).cast("string"),
                "encoder_id": F.lit(encoder_id).cast("string"),
            }
            lists = tables.overwrite(RECOMMENDATIONS, scored.withColumns(stamps))
        finally:
            shared.destroy()
    finally:
        inputs.pictures.unpersist()
        inputs.touched.unpersist()
    written = [
        lists,
        tables.overwrite(ITEM_RECOMMENDATIONS, item_lists(spark, hybrid.side, config.k)),
        tables.overwrite(BLEND_WEIGHTS, weight_rows(spark, hybrid.blend)),
    ]
    sources = tables.read(RECOMMENDATIONS).groupBy("source").count().collect()
    by_count = sorted(sources, key=lambda row: (-row["count"], row.source))
    told = ", ".join(f"{row.source} {row['count']:,}" for row in by_count)
    notes = [
        f"{len(hybrid.side):,} items ranked; recommendations by source: {told}",
        *_blend_notes(hybrid.blend),
    ]
    if model_id is None:
        notes.append("no interactions to learn from: recommended without collaborative filtering")
    if not has_looks:
        notes.append(
            "no look-alikes for the configured encoder: recommended without looks (run embed and similar)"
        )
    return StageResult(written, notes)


STAGE = Stage("recommend", "blend all parts into a ranked list for every user", run)


def _inputs(context: StageContext, encoder_id: str | None) -> tuple[Inputs, bool]:
    """The frames, and whether there are look-alikes of the configured encoder."""
    tables = context.tables
    of_encoder = F.col("encoder_id") == F.lit(encoder_id)
    neighbors = tables.read_or_empty(ITEM_NEIGHBORS).where(of_encoder)
    duplicates = tables.read_or_empty(NEAR_DUPLICATES).where(of_encoder)
    pictures = item_pictures(tables.read_or_empty(IMAGES), tables.read_or_empty(EMBEDDINGS).where(of_encoder))
    quality = tables.read_or_empty(SIMILARITY_QUALITY).where(of_encoder).first()
    if quality is None:
        # Stage `similar` has not ended: without the mean cosine nothing tells a strong look-alike from a weak one.
        neighbors, pictures, duplicates = neighbors.limit(0), pictures.limit(0), duplicates.limit(0)
    inputs = Inputs(
        tables.read(ITEMS),
        touched_pairs(tables.read(INTERACTIONS), context.config.recommend.rerank),
        tables.read(USER_FACTORS),
        tables.read(ITEM_FACTORS),
        pictures,
        neighbors,
        duplicates,
        quality.mean_cosine if quality is not None else 0.0,
    )
    return inputs, encoder_id is not None and quality is not None


def _blend_notes(blend: Blend) -> list[str]:
    if blend.method == "configured":
        return ["too few users with a validation window: recommend.weights as configured"]
    ours, best = blend.judged[0], max(blend.judged[1:], key=lambda judged: judged.ndcg)
    told = (
        f"on the validation window the blend has NDCG@10 {ours.ndcg:.4f}, its best part alone ({best.name}) "
        f"{best.ndcg:.4f}; difference {best.difference:+.4f} [{best.lo:+.4f}, {best.hi:+.4f}]"
    )
    if blend.method == "single":
        told += f": {best.name} alone is used"
    learned = f"{blend.share:.0%} learned from {blend.pairs:,} pairs, the rest on {best.name}"
    return [told, f"weights of standardised features ({learned}): {describe_weights(blend)}"]


def _one_model(tables: TableStore) -> str | None:
    """The model that both factor tables hold; None where there is nothing to learn from, and both are empty."""
    models = [
        tables.read(table).select(F.lit(table.name).alias("table"), "model_id").limit(1)
        for table in (USER_FACTORS, ITEM_FACTORS)
    ]
    found = {row.table: row.model_id for row in models[0].union(models[1]).collect()}
    users, items = found.get(USER_FACTORS.name), found.get(ITEM_FACTORS.name)
    if users != items:
        raise TableError(
            f"user_factors holds model {users} and item_factors model {items}: run stage `als` again to its end."
        )
    return None if users is None else str(users)
