"""Wires stage `recommend`: everything known so far becomes a ranked list for every user."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.errors import TableError
from vizrec_spark.recommend.history import user_rows
from vizrec_spark.recommend.items import build_item_side
from vizrec_spark.recommend.score import score_users
from vizrec_spark.stage import Stage, StageContext, StageResult
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.liking import liking
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
    user_factors, item_factors = tables.pinned(USER_FACTORS), tables.pinned(ITEM_FACTORS)
    model_id = _one_model(user_factors, item_factors)
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
        item_factors.select("item_id", "factors").toArrow(),
        neighbors.select("item_id", "neighbor_id", "cosine").toArrow(),
        quality.mean_cosine if quality is not None else 0.0,
    )
    shared = spark.sparkContext.broadcast(side)
    try:
        rows = user_rows(users, interactions, user_factors)
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
        notes.append("no interactions to learn from: recommended without collaborative filtering")
    if encoder_id is None or quality is None:
        notes.append(
            "no look-alikes for the configured encoder: recommended without looks (run embed and similar)"
        )
    return StageResult([done], notes)


STAGE = Stage("recommend", "blend all parts into a ranked list for every user", run)


def _one_model(user_factors: DataFrame, item_factors: DataFrame) -> str | None:
    """The model that both tables of factors hold; None where there is nothing to learn from, and both are empty."""
    found = [factors.select("model_id").first() for factors in (user_factors, item_factors)]
    users, items = (row.model_id if row is not None else None for row in found)
    if users != items:
        raise TableError(
            f"user_factors holds model {users} and item_factors model {items}: a run of stage `als` is under "
            "way, or died between them: let it end, or run it again."
        )
    return None if users is None else str(users)
