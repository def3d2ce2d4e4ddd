"""Contract of the journal of restores: what is to be taken back, written down before it is."""

from __future__ import annotations

from pyspark.sql.types import ArrayType, StructField, StructType, TimestampType

from vizrec_spark.tables.contract import Table, column
from vizrec_spark.tables.schemas.types import LONG, STRING

_UNIT = StructType([StructField("run_id", STRING), StructField("stage", STRING)])
_STEP = StructType(
    [
        StructField("table", STRING),
        StructField("from_version", LONG),
        StructField("to_version", LONG),
        StructField("rows_before", LONG),
        StructField("rows_after", LONG),
    ]
)

RESTORES = Table(
    "restores",
    "restore",
    "What was taken back: a row before the first table is touched, and one at the end. While the second is missing, no "
    "run starts or writes here.",
    StructType(
        [
            column("run_id", STRING, "The restore, which is a run of its own."),
            column(
                "event",
                STRING,
                "`planned`; `done`; `abandoned` where nothing was changed, or all was put back.",
            ),
            column("at", TimestampType(), "When."),
            column("asked", STRING, "The run that was to be taken back."),
            column("takes_back", ArrayType(_UNIT), "The runs and stages whose commits are taken back."),
            column("read_since", ArrayType(_UNIT), "Runs and stages that ended since, perhaps on what goes."),
            column(
                "tables",
                ArrayType(_STEP),
                "From which version to which each table goes, with its rows there.",
            ),
        ]
    ),
    ("event", "run_id"),
    {"event_known": "event IN ('planned', 'done', 'abandoned')"},
    log_days=365,
)
