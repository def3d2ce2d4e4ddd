"""Contract of what every stage writes last of all: the record of its run."""

from __future__ import annotations

from pyspark.sql.types import ArrayType, MapType, StructField, StructType, TimestampType

from vizrec_spark.tables.contract import Table, column
from vizrec_spark.tables.schemas.types import DOUBLE, LONG, STRING

_WROTE = StructType(
    [
        StructField("table", STRING),
        StructField("version", LONG),
        StructField("rows", LONG),
        StructField("changed", LONG),
        StructField("bytes", LONG),
    ]
)

RUNS = Table(
    "runs",
    "pipeline",
    "Every stage that came to its end, each time that it did. The row is its last commit: a run without is not done.",
    StructType(
        [
            column("run_id", STRING, "The run; its id stands in every commit that it made."),
            column("stage", STRING, "The stage or job."),
            column("config_hash", STRING, "Fingerprint of the configuration."),
            column("outcome", STRING, "`done`; `held` where the gate held the candidate back."),
            column("finished_at", TimestampType(), "When it ended."),
            column(
                "seconds", DOUBLE, "How long it took; for the first of a process, with the start of Spark."
            ),
            column("encoder", STRING, "The encoder that its configuration names, as `encoders.config_key`."),
            column(
                "tables",
                ArrayType(_WROTE),
                "What it wrote or found unchanged in this place: table, version, rows in it, rows changed, bytes of "
                "its data files at that moment.",
            ),
            column(
                "metrics",
                MapType(STRING, DOUBLE),
                "What it measured, by name, for example recall, pictures_per_second or catalogue_refused_share.",
            ),
            column("notes", ArrayType(STRING), "What it told people."),
        ]
    ),
    ("run_id", "stage", "finished_at"),
    {"outcome_known": "outcome IN ('done', 'held')", "seconds_from_zero": "seconds >= 0"},
)
