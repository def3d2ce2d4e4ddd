"""Validates the catalogue."""

from __future__ import annotations

import re

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import CatalogueColumns, CatalogueConfig
from vizrec_spark.ingest.judge import Rule, badly_encoded, instant, judge, malformed, number, refuse_repeated
from vizrec_spark.ingest.sources import APART, MALFORMED, RAW, quoted, trimmed


def catalogue_columns(columns: CatalogueColumns) -> list[str]:
    """Names of the columns that the configuration takes from the catalogue."""
    named = (
        columns.item_id,
        columns.title,
        columns.categories,
        columns.price,
        columns.added_at,
        columns.image,
    )
    return [name for name in (*named, *columns.attributes) if name is not None]


def validate_catalogue(raw: DataFrame, config: CatalogueConfig) -> DataFrame:
    """Raw catalogue records (see `read_source`) judged one by one.

    Gives the columns of table `items`, `image` (array<string>, paths below the image folder), `_record`,
    `reason` and `message`. Refused: malformed_record, bad_encoding, missing_key, bad_price, bad_added_at,
    duplicate_key (of several records of an item, the one that says most stays).
    """
    names = config.columns

    def whole(name: str | None) -> F.Column:
        return F.col(quoted(name)) if name is not None else F.lit(None).cast("string")

    def text(name: str | None) -> F.Column:
        if name not in (names.categories, names.image):  # which may be named as attributes too
            return whole(name)
        return F.replace(
            F.regexp_replace(whole(name), f"^{APART}", ""), F.lit(APART), F.lit(config.separator)
        )

    def parts(name: str | None) -> F.Column:
        found = whole(name)
        apart = F.split(found, APART)
        split = F.when(found.startswith(APART), apart).otherwise(F.split(found, re.escape(config.separator)))
        # Not `trimmed` alone: a function of two parameters would be handed each piece's number too.
        pieces = F.transform(split, lambda piece: trimmed(piece))
        return F.coalesce(
            F.array_distinct(F.filter(pieces, lambda p: p != "")), F.array().cast("array<string>")
        )

    attributes = [F.lit(name) if odd == 0 else text(name) for name in names.attributes for odd in (0, 1)]
    present = (
        F.map_filter(F.create_map(*attributes), lambda _, v: v.isNotNull()) if attributes else F.create_map()
    )
    read = raw.select(
        text(names.item_id).alias("item_id"),
        text(names.title).alias("title"),
        parts(names.categories).alias("categories"),
        text(names.price).alias("_price"),
        text(names.added_at).alias("_added_at"),
        present.cast("map<string,string>").alias("attributes"),
        parts(names.image).alias("image"),
        RAW,
        MALFORMED,
    ).withColumns(
        {"price": number("_price"), "added_at": instant("_added_at", "epoch_s", earliest="1900-01-01")}
    )
    bad_price = F.col("_price").isNotNull() & (F.col("price").isNull() | (F.col("price") < 0))
    rules: list[Rule] = [
        malformed(),
        badly_encoded(),
        ("missing_key", F.col("item_id").isNull(), f"The item id (column {names.item_id!r}) is empty."),
        ("bad_price", bad_price, F.concat(F.lit("The price is not a number of at least 0: "), "_price")),
        (
            "bad_added_at",
            F.col("_added_at").isNotNull() & F.col("added_at").isNull(),
            F.concat(F.lit("Not a date (ISO 8601 or epoch seconds): "), "_added_at"),
        ),
    ]
    fullness = sum(
        (F.col(name).isNotNull().cast("int") for name in ("title", "price", "added_at")),
        F.size("image") + F.size("categories") + F.size("attributes"),
    )
    return refuse_repeated(judge(read, rules), ["item_id"], "catalogue record", fullness).drop(
        "_price", "_added_at", MALFORMED
    )
