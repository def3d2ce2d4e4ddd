"""Wires stage `recommend`: everything known so far becomes a ranked list for every user."""

from __future__ import annotations

from pyspark.sql import functions as F

from vizrec_spark.recommend.history import user_rows
from vizrec_spark.recommend.items import build_item_side
from vizrec_spark.recommend.score import score_users
from vizrec_spark.stage import Stage, StageContext, StageResult
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.liking import liking
from vizrec_spark.tables.models import Factors, latest_factors, promoted_factors
from vizrec_spark.tables.schemas import (
    INTERACTIONS,
    ITEM_FACTORS,
    ITEM_NEIGHBORS,
    ITEMS,
    RECOMMENDATIONS,
    SIMILARITY_QUALITY,
    USER_FACTORS,
    USERS,
)


def run(context: StageContext) -> StageResult:
    """Scores every user of table `users` and replaces `recommendations`."""
    spark, tables, config = context.spark, context.tables, context.config.recommend
    # Pinned, so that what was looked at is what is used, whatever other runs write to these tables meanwhile.
    interactions, users, items = (tables.pinned(table) for table in (INTERACTIONS, USERS, ITEMS))
    learned = latest_factors(tables) if config.model == "latest" else promoted_factors(tables)
    if learned is None:
        nothing = (spark.createDataFrame([], table.schema) for table in (USER_FACTORS, ITEM_FACTORS))
        learned = Factors(None, *nothing)
    model_id = learned.model_id
    encoder_id = current_encoder(tables, context.config.embed)
    neighbors, measured = (
        tables.pinned_or_empty(table).where(F.col("encoder_id") == F.lit(encoder_id))
        for table in (ITEM_NEIGHBORS, SIMILARITY_QUALITY)
    )
    quality = measured.first()
    if quality is None:
        # Stage `similar` has not ended: without the mean cosine nothing tells a strong look-alike from a weak one.
        neighbors = neighbors.limit(0)
    liked = interactions.groupBy("user_id", "item_id").agg(liking().alias("weight")).where("weight > 0")
    people = liked.groupBy("item_id").agg(F.count(F.lit(1)).alias("people"))
    side = build_item_side(
        items.select("item_id", "title").toArrow(),
        people.toArrow(),
        learned.item_factors.select("item_id", "factors").toArrow(),
        neighbors.select("item_id", "neighbor_id", "cosine").toArrow(),
        quality.mean_cosine if quality is not None else 0.0,
    )
    shared = spark.sparkContext.broadcast(side)
    try:
        rows = user_rows(users, interactions, learned.user_factors)
        # Scoring is what costs: spread it over all cores, however small the users' rows are.
        spread = rows.repartition(2 * spark.sparkContext.defaultParallelism, "user_id")
        # In a fixed order, so that every run writes the same rows in the same places.
        spread = spread.sortWithinPartitions("user_id")
        scored = score_users(spread, shared, config)
        done = tables.overwrite(
            RECOMMENDATIONS,
            scored.withColumns(
                {"model_id": F.lit(model_id).cast("string"), "encoder_id": F.lit(encoder_id).cast("string")}
            ),
        )
    finally:
        shared.destroy()
    lists = tables.read_at(RECOMMENDATIONS, done.version)
    sources = lists.groupBy("source").count().orderBy(F.desc("count")).collect()
    told = ", ".join(f"{row.source} {row['count']:,}" for row in sources)
    notes = [f"{len(side):,} items ranked; recommendations by source: {told}"]
    if model_id is None:
        why = "no interactions to learn from" if config.model == "latest" else "no model was promoted yet"
        notes.append(f"{why}: recommended without collaborative filtering")
    if encoder_id is None or quality is None:
        notes.append(
            "no look-alikes for the configured encoder: recommended without looks (run embed and similar)"
        )
    metrics = {f"from_{row.source}": float(row["count"]) for row in sources}
    return StageResult([done], notes, metrics)


STAGE = Stage("recommend", "blend all parts into a ranked list for every user", run)
