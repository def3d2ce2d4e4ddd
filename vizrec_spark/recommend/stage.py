"""Wires stage `recommend`: everything known so far becomes a ranked list for every user."""

from __future__ import annotations

from pyspark.sql import functions as F

from vizrec_spark.errors import TableError
from vizrec_spark.recommend.history import user_rows
from vizrec_spark.recommend.items import build_item_side
from vizrec_spark.recommend.score import score_users
from vizrec_spark.stage import Stage, StageContext, StageResult
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.liking import liking
from vizrec_spark.tables.promotions import in_service
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

_FACTORS = (USER_FACTORS, ITEM_FACTORS)


def run(context: StageContext) -> StageResult:
    """Scores every user of table `users` and replaces `recommendations`."""
    spark, tables, config = context.spark, context.tables, context.config.recommend
    interactions = tables.read(INTERACTIONS)
    model_id = _one_model(tables) if config.model == "latest" else _promoted_model(tables)
    learned = [tables.read(table) if model_id else tables.read_or_empty(table).limit(0) for table in _FACTORS]
    encoder_id = current_encoder(tables, context.config.embed)
    neighbors = tables.read_or_empty(ITEM_NEIGHBORS).where(F.col("encoder_id") == F.lit(encoder_id))
    quality = tables.read_or_empty(SIMILARITY_QUALITY).where(F.col("encoder_id") == F.lit(encoder_id)).first()
    if quality is None:
        # Stage `similar` has not ended: without the mean cosine nothing tells a strong look-alike from a weak one.
        neighbors = neighbors.limit(0)
    liked = interactions.groupBy("user_id", "item_id").agg(liking().alias("weight")).where("weight > 0")
    people = liked.groupBy("item_id").agg(F.count(F.lit(1)).alias("people"))
    side = build_item_side(
        tables.read(ITEMS).select("item_id", "title").toArrow(),
        people.toArrow(),
        learned[1].select("item_id", "factors").toArrow(),
        neighbors.select("item_id", "neighbor_id", "cosine").toArrow(),
        quality.mean_cosine if quality is not None else 0.0,
    )
    shared = spark.sparkContext.broadcast(side)
    try:
        rows = user_rows(tables.read(USERS), interactions, learned[0])
        # Scoring is what costs: spread it over all cores, however small the users' rows are.
        spread = rows.repartition(2 * spark.sparkContext.defaultParallelism, "user_id")
        # In a fixed order, so that the blocks, and with them the last bits of the sums, are the same in every run.
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
    sources = tables.read(RECOMMENDATIONS).groupBy("source").count().orderBy(F.desc("count")).collect()
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


def _one_model(tables: TableStore) -> str | None:
    """The model that both factor tables hold; None where there is nothing to learn from, and both are empty."""
    found = [tables.read(table).select("model_id").first() for table in _FACTORS]
    users, items = (row.model_id if row is not None else None for row in found)
    if users != items:
        raise TableError(
            f"user_factors holds model {users} and item_factors model {items}: run stage `als` again to its end."
        )
    return None if users is None else str(users)


def _promoted_model(tables: TableStore) -> str | None:
    """The model in service, which both factor tables must hold; None before the first promotion."""
    promotion = in_service(tables)
    if promotion is None:
        return None
    held = _one_model(tables)
    if held != promotion.model_id:
        raise TableError(
            f"The promoted model is {promotion.model_id}, but the factor tables hold {held}: run job `promote` again, "
            "take back what another run of stage `als` wrote (`vizrec restore user_factors`), or set recommend.model "
            "to latest."
        )
    return held
