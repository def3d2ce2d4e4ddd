"""Validates the interaction log."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import InteractionColumns, InteractionsConfig
from vizrec_spark.config.models.ingest import RATING_EVENT
from vizrec_spark.ingest.judge import Rule, badly_encoded, instant, judge, malformed, number, refuse_repeated
from vizrec_spark.ingest.sources import MALFORMED, RAW, quoted
from vizrec_spark.tables.schemas import INTERACTIONS


def interaction_columns(columns: InteractionColumns) -> list[str]:
    """Names of the columns that the configuration takes from the log."""
    named = (columns.user_id, columns.item_id, columns.timestamp, columns.event, columns.rating)
    return [name for name in named if name is not None]


def validate_interactions(
    raw: DataFrame, items: DataFrame | None, config: InteractionsConfig, carried: Sequence[str] = ()
) -> DataFrame:
    """`judge_interactions`, and of several records with the key of table `interactions` all but one refused
    (duplicate_key)."""
    return refuse_repeated(judge_interactions(raw, items, config, carried), INTERACTIONS.key, "interaction")


def judge_interactions(
    raw: DataFrame, items: DataFrame | None, config: InteractionsConfig, carried: Sequence[str] = ()
) -> DataFrame:
    """Raw log records (see `read_source`) judged one by one against the accepted `items`; None: any item will do.

    Gives the columns of table `interactions`, those of `raw` that are `carried`, `_record`, `reason` and `message`.
    Without an event column the event is ``rating``. A rating below `config.likes_from` has weight 0.
    Refused: malformed_record, bad_encoding, missing_key, bad_timestamp, unknown_event, bad_rating,
    rating_out_of_range, unknown_item.
    """
    names = config.columns
    event = F.col(quoted(names.event)) if names.event is not None else F.lit(RATING_EVENT)
    rating = F.col(quoted(names.rating)) if names.rating is not None else F.lit(None).cast("string")
    weights = F.create_map(*(F.lit(x) for pair in config.events.items() for x in pair))
    read = raw.select(
        F.col(quoted(names.user_id)).alias("user_id"),
        F.col(quoted(names.item_id)).alias("item_id"),
        event.alias("event"),
        rating.alias("_rating"),
        F.col(quoted(names.timestamp)).alias("_timestamp"),
        RAW,
        MALFORMED,
        *carried,
    ).withColumns(
        {
            "rating": number("_rating"),
            "weight": F.try_element_at(weights, F.col("event")),
            "timestamp": instant("_timestamp", config.timestamp),
        }
    )
    known = F.lit(True).alias("_known")
    if items is None:
        read = read.withColumn("_known", known)
    else:
        read = read.join(items.select("item_id", known), "item_id", "left")
    must_rate = F.lit(names.rating is not None) & (F.col("event") == RATING_EVENT)
    bad_rating = F.col("rating").isNull() & (must_rate | F.col("_rating").isNotNull())
    shown = F.coalesce(F.col("_rating"), F.lit("(empty)"))
    rules: list[Rule] = [
        malformed(),
        badly_encoded(),
        (
            "missing_key",
            F.col("user_id").isNull() | F.col("item_id").isNull(),
            "The user id or the item id is empty.",
        ),
        (
            "bad_timestamp",
            F.col("timestamp").isNull(),
            F.concat(
                F.lit(f"Not a time between 1971 and 2100 in the configured form ({config.timestamp}): "),
                F.coalesce(F.col("_timestamp"), F.lit("(empty)")),
            ),
        ),
        (
            "unknown_event",
            F.col("weight").isNull(),
            F.concat(
                F.lit("The event type has no weight under ingest.interactions.events: "),
                F.coalesce(F.col("event"), F.lit("(empty)")),
            ),
        ),
        ("bad_rating", bad_rating, F.concat(F.lit("The rating is not a finite number: "), shown)),
        (
            "rating_out_of_range",
            ~F.col("rating").between(config.rating_min, config.rating_max),
            F.concat(
                F.lit(f"The rating is not within {config.rating_min:g} to {config.rating_max:g}: "), shown
            ),
        ),
        (
            "unknown_item",
            F.col("_known").isNull(),
            F.concat(F.lit("The item is not in the accepted catalogue: "), "item_id"),
        ),
    ]
    disliked = F.coalesce(F.col("rating") < config.likes_from, F.lit(False))
    read = read.withColumn(
        "weight", F.when(disliked & F.col("weight").isNotNull(), 0.0).otherwise(F.col("weight"))
    )
    return judge(read, rules).drop("_rating", "_timestamp", "_known", MALFORMED)
