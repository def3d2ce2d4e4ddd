"""Wires stage `recommend`: everything known so far becomes a ranked list for every user, and one for every item."""

from __future__ import annotations

from pyspark.sql import functions as F

from vizrec_spark.recommend.blend import Blend, describe_weights
from vizrec_spark.recommend.hybrid import fit_hybrid, recommend_with
from vizrec_spark.recommend.item_to_item import item_lists
from vizrec_spark.recommend.reading import (
    chosen_factors,
    read_inputs,
    settings_of_model,
    with_users_of_today,
)
from vizrec_spark.recommend.weights import weight_rows
from vizrec_spark.stage import Stage, StageContext, StageResult
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.schemas import (
    BLEND_WEIGHTS,
    INTERACTIONS,
    ITEM_RECOMMENDATIONS,
    RECOMMENDATIONS,
    USERS,
)


def run(context: StageContext) -> StageResult:
    """Learns the blend, scores every user of table `users` and replaces the stage's tables.

    Raises: TableError when a table that it needs is missing, or the factors are not of one model; ConfigError for a
    rule or boost that Spark cannot read.
    """
    spark, tables, config = context.spark, context.tables, context.config.recommend
    users = tables.pinned(USERS)
    learned = chosen_factors(context)
    als = settings_of_model(context, learned.model_id)
    encoder_id = current_encoder(tables, context.config.embed)
    inputs, has_looks = read_inputs(context, learned, als, encoder_id)
    # Read more than once, and an aggregation of a whole table.
    inputs.touched.persist()
    try:
        hybrid = fit_hybrid(inputs, config, als)
        shared = spark.sparkContext.broadcast(hybrid.side)
        try:
            if config.model == "promoted" and learned.model_id is not None:
                inputs = with_users_of_today(inputs, tables.pinned(INTERACTIONS), als)
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
    of_sources = {row.source: row["count"] for row in counts}
    return StageResult(written, notes, _metrics(hybrid.blend, len(hybrid.side), of_sources))


STAGE = Stage("recommend", "blend all parts into a ranked list for every user", run)


def _metrics(blend: Blend, items: int, counts: dict[str, int]) -> dict[str, float]:
    of_sources = {f"from_{source}": float(count) for source, count in counts.items()}
    judged = {f"window_ndcg10_{judged.name}": judged.ndcg for judged in blend.judged}
    return {"items": float(items), **of_sources, **judged}


def _blend_notes(blend: Blend, learning: bool) -> list[str]:
    if blend.method == "configured":
        why = (
            "too few users with a validation window, or nothing to tell candidates apart by"
            if learning
            else "recommend.learn.enabled is false"
        )
        return [f"{why}: recommend.weights as configured"]
    ours, best = blend.judged[0], max(blend.judged[1:], key=lambda judged: judged.ndcg)
    told = (
        f"on the validation window the blend has NDCG@10 {ours.ndcg:.4f}, its best part alone ({best.name}) "
        f"{best.ndcg:.4f}; difference {best.difference:+.4f} [{best.lo:+.4f}, {best.hi:+.4f}] on the users by whom "
        "it was chosen"
    )
    if blend.method == "single":
        told += f": {best.name} alone is used (new items are weighed against others as learned)"
    learned = f"{blend.share:.0%} learned from {blend.pairs:,} pairs, the rest on {best.name}"
    return [told, f"weights of standardised features ({learned}): {describe_weights(blend)}"]
