"""Wires stage `recommend`: everything known so far becomes a ranked list for every user, and one for every item."""

from __future__ import annotations

from pyspark.sql import functions as F

from vizrec_spark.config.models import AlsConfig
from vizrec_spark.config.models.als import with_settings
from vizrec_spark.recommend.blend import Blend, describe_weights
from vizrec_spark.recommend.history import touched_pairs
from vizrec_spark.recommend.hybrid import Inputs, fit_hybrid, recommend_with
from vizrec_spark.recommend.item_to_item import item_lists
from vizrec_spark.recommend.weights import weight_rows
from vizrec_spark.stage import Stage, StageContext, StageResult
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.models import Factors, latest_factors, promoted_factors
from vizrec_spark.tables.schemas import (
    ALS_MODELS,
    BLEND_WEIGHTS,
    COMPARED_ITEMS,
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
    """Learns the blend, scores every user of table `users` and replaces the stage's tables.

    Raises: TableError when a table that it needs is missing, or the factors are not of one model; ConfigError for a
    rule or boost that Spark cannot read.
    """
    spark, tables, config = context.spark, context.tables, context.config.recommend
    users = tables.pinned(USERS)
    learned = _factors(context)
    als = _settings(context, learned.model_id)
    encoder_id = current_encoder(tables, context.config.embed)
    inputs, has_looks = _inputs(context, learned, als, encoder_id)
    # Read more than once, and an aggregation of a whole table.
    inputs.touched.persist()
    try:
        hybrid = fit_hybrid(inputs, config, als)
        shared = spark.sparkContext.broadcast(hybrid.side)
        try:
            scored = recommend_with(shared, hybrid.blend, inputs, users, config, als)
            stamps = {
                "model_id": F.lit(learned.model_id).cast("string"),
                "encoder_id": F.lit(encoder_id).cast("string"),
            }
            lists = tables.overwrite(RECOMMENDATIONS, scored.withColumns(stamps))
        finally:
            shared.destroy()
    finally:
        inputs.touched.unpersist()
    written = [
        lists,
        tables.overwrite(ITEM_RECOMMENDATIONS, item_lists(spark, hybrid.side, config.k)),
        tables.overwrite(BLEND_WEIGHTS, weight_rows(spark, hybrid.blend)),
    ]
    counts = tables.read_at(RECOMMENDATIONS, lists.version).groupBy("source").count().collect()
    by_count = sorted(counts, key=lambda row: (-row["count"], row.source))
    told = ", ".join(f"{row.source} {row['count']:,}" for row in by_count)
    notes = [
        f"{len(hybrid.side):,} items ranked; recommendations by source: {told}",
        *_blend_notes(hybrid.blend, config.learn.enabled),
    ]
    if learned.model_id is None:
        why = "no interactions to learn from" if config.model == "latest" else "no model was promoted yet"
        notes.append(f"{why}: recommended without collaborative filtering")
    if not has_looks:
        notes.append(
            "no look-alikes for the configured encoder: recommended without looks (run embed and similar)"
        )
    return StageResult(written, notes, _metrics(hybrid.blend, {row.source: row["count"] for row in counts}))


STAGE = Stage("recommend", "blend all parts into a ranked list for every user", run)


def _factors(context: StageContext) -> Factors:
    tables = context.tables
    latest = context.config.recommend.model == "latest"
    found = latest_factors(tables) if latest else promoted_factors(tables)
    if found is not None:
        return found
    nothing = (context.spark.createDataFrame([], table.schema) for table in (USER_FACTORS, ITEM_FACTORS))
    return Factors(None, *nothing)


def _settings(context: StageContext, model_id: str | None) -> AlsConfig:
    """Section `als` as the model was trained with; as configured where the tables do not know."""
    models = context.tables.read_or_empty(ALS_MODELS).where(F.col("model_id") == F.lit(model_id))
    row = models.select("settings").first()
    return context.config.als if row is None else with_settings(context.config.als, row.settings)


def _inputs(
    context: StageContext, learned: Factors, als: AlsConfig, encoder_id: str | None
) -> tuple[Inputs, bool]:
    """The frames, and whether there are look-alikes of the configured encoder.

    Pinned, so that what was looked at is what is used, whatever other runs write to these tables meanwhile.
    """
    tables = context.tables
    of_encoder = F.col("encoder_id") == F.lit(encoder_id)
    quality, looks, neighbors, duplicates = (
        tables.pinned_or_empty(table).where(of_encoder)
        for table in (SIMILARITY_QUALITY, COMPARED_ITEMS, ITEM_NEIGHBORS, NEAR_DUPLICATES)
    )
    measured = quality.first()
    if measured is None:
        # Stage `similar` has not ended: without the mean cosine nothing tells a strong look-alike from a weak one.
        looks, neighbors, duplicates = looks.limit(0), neighbors.limit(0), duplicates.limit(0)
    inputs = Inputs(
        tables.pinned(ITEMS),
        touched_pairs(tables.pinned(INTERACTIONS), context.config.recommend.rerank, als),
        learned.user_factors,
        learned.item_factors,
        looks,
        neighbors,
        duplicates,
        measured.mean_cosine if measured is not None else 0.0,
    )
    return inputs, encoder_id is not None and measured is not None


def _metrics(blend: Blend, counts: dict[str, int]) -> dict[str, float]:
    of_sources = {f"from_{source}": float(count) for source, count in counts.items()}
    judged = {f"window_ndcg10_{judged.name}": judged.ndcg for judged in blend.judged}
    return {**of_sources, **judged}


def _blend_notes(blend: Blend, learning: bool) -> list[str]:
    if blend.method == "configured":
        why = "too few users with a validation window" if learning else "recommend.learn.enabled is false"
        return [f"{why}: recommend.weights as configured"]
    ours, best = blend.judged[0], max(blend.judged[1:], key=lambda judged: judged.ndcg)
    told = (
        f"on the validation window the blend has NDCG@10 {ours.ndcg:.4f}, its best part alone ({best.name}) "
        f"{best.ndcg:.4f}; difference {best.difference:+.4f} [{best.lo:+.4f}, {best.hi:+.4f}] on the users by whom "
        "it was chosen"
    )
    if blend.method == "single":
        told += f": {best.name} alone is used"
    learned = f"{blend.share:.0%} learned from {blend.pairs:,} pairs, the rest on {best.name}"
    return [told, f"weights of standardised features ({learned}): {describe_weights(blend)}"]
