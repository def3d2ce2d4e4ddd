"""Trials of a search as rows: of ALS in table `tuning_trials`, of stage `adapt` in `adaptation_trials`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from vizrec_spark.kernels.trials import Tried
from vizrec_spark.tables.contract import Table
from vizrec_spark.tables.store import TableStore, Written


def trials_of(tables: TableStore, table: Table, study: str) -> list[Tried]:
    """The trials of a study that have ended, in order."""
    rows = tables.read_or_empty(table).where(F.col("study_id") == study).orderBy("trial").collect()
    return [_tried(row.asDict()) for row in rows]


def _tried(row: Mapping[str, Any]) -> Tried:
    epochs = tuple(row.get("epochs", ()))
    return Tried(dict(row["parameters"]), row["value"], epochs, row.get("pruned", False))


def keep_trial(
    tables: TableStore, spark: SparkSession, table: Table, study: str, number: int, tried: Tried, metric: str
) -> Written:
    """Writes down a trial that has ended; one of this number is replaced."""
    values: dict[str, Any] = {
        "study_id": study,
        "trial": number,
        "parameters": dict(tried.settings),
        "metric": metric,
        "value": tried.value,
        "epochs": list(tried.epochs),
        "pruned": tried.pruned,
    }
    row = tuple(values[name] for name in table.schema.names)
    return tables.upsert(table, spark.createDataFrame([row], table.schema))
