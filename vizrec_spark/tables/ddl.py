"""SQL that makes a table as its contract declares it."""

from __future__ import annotations

from vizrec_spark.config.models.maintain import KEPT_DAYS
from vizrec_spark.tables.contract import Table

VERSION_PROPERTY = "vizrec.contractVersion"
"""The table property that tells by which version of its contract a table was made."""


def create_statement(table: Table, name: str) -> str:
    """CREATE TABLE with columns, comments, constraints and properties; `name` as it is written in SQL."""
    columns = ", ".join(
        f"{quoted(f.name)} {f.dataType.simpleString()}{'' if f.nullable else ' NOT NULL'} "
        f"COMMENT {literal(f.metadata['comment'])}"
        for f in table.schema.fields
    )
    properties = {
        VERSION_PROPERTY: str(table.version),
        "delta.enableDeletionVectors": "true",
        "delta.deletedFileRetentionDuration": f"interval {table.out_of_use_hours} hours"
        if table.out_of_use_hours is not None
        else f"interval {min(KEPT_DAYS, table.log_days)} days",
        "delta.logRetentionDuration": f"interval {table.log_days} days",
        **({"delta.checkpointInterval": "50"} if table.log_days == 1 else {}),
        **{f"delta.constraints.{check}": predicate for check, predicate in table.checks.items()},
    }
    partitions = (
        f"PARTITIONED BY ({', '.join(map(quoted, table.partition_by))}) " if table.partition_by else ""
    )
    pairs = ", ".join(f"{literal(key)} = {literal(value)}" for key, value in properties.items())
    return (
        f"CREATE TABLE IF NOT EXISTS {name} ({columns}) USING delta {partitions}"
        f"COMMENT {literal(table.description)} TBLPROPERTIES ({pairs})"
    )


def quoted(name: str) -> str:
    """A name in SQL."""
    return f"`{name.replace('`', '``')}`"


def literal(text: str) -> str:
    """A text in SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
