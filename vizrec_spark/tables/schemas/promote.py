"""Contract of what job `promote` writes."""

from __future__ import annotations

from pyspark.sql.types import MapType, StructType

from vizrec_spark.tables.contract import Table, column
from vizrec_spark.tables.schemas.types import DOUBLE, INT, LONG, STRING

PROMOTIONS = Table(
    "promotions",
    "promote",
    "Every model that passed the gate; the one with the largest number is in service.",
    StructType(
        [
            column("number", INT, "1, 2, 3, ..."),
            column("run_id", STRING, "The run that measured and promoted it."),
            column("model_id", STRING, "The ALS model that was then learned from the whole log."),
            column("user_factors_version", LONG, "The version of `user_factors` that holds it."),
            column("item_factors_version", LONG, "The version of `item_factors` that holds it."),
            column(
                "settings",
                MapType(STRING, DOUBLE),
                "Settings of section `als` by name; without `half_life_days`, all events count alike.",
            ),
            column("decision", STRING, "The gate's decision, as JSON."),
        ]
    ),
    ("run_id",),
    {"number_from_one": "number >= 1"},
)
