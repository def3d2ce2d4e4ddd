"""The record of a stage that came to its end: its row in table `runs`, which is its last commit."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Literal

from vizrec_spark.errors import WriteConflict
from vizrec_spark.stage import StageContext, StageResult
from vizrec_spark.tables import Written
from vizrec_spark.tables.schemas import ALL_TABLES, RUNS

Outcome = Literal["done", "held"]

_ATTEMPTS = 5


def record_run(
    context: StageContext, result: StageResult, seconds: float, outcome: Outcome = "done"
) -> Written:
    """Replaces the row of this run and stage in table `runs`.

    The commit's metadata says the same as the row, beside the stamp: `outcome`, `seconds`, `tables` (by name: version,
    rows, changed), `metrics` and `notes`. So whoever reads Delta's log needs neither Spark nor Parquet to judge a run.

    Raises: TableError when the table cannot be written, also after some attempts beside other writers.
    """
    tables, stamp = context.tables, context.tables.stamp
    known = {table.name: table for table in ALL_TABLES}
    # A table that was written in several steps counts once, as the last step left it.
    last = {written.table: written for written in result.written if written.table in known}
    changed = {name: sum(w.changed for w in result.written if w.table == name) for name in last}
    metrics = {name: float(value) for name, value in result.metrics.items()}
    wrote = [
        (name, written.version, written.rows, changed[name], tables.size(known[name]))
        for name, written in last.items()
    ]
    row = (
        *(stamp.run_id, stamp.stage, stamp.config_hash, outcome, datetime.now(UTC), seconds),
        *(wrote, metrics, list(result.notes)),
    )
    told = {
        "outcome": outcome,
        "seconds": round(seconds, 3),
        "tables": {name: {"version": v, "rows": n, "changed": c} for name, v, n, c, _ in wrote},
        "metrics": metrics,
        "notes": list(result.notes),
    }
    frame = context.spark.createDataFrame([row], RUNS.schema)
    mine = f"stage = '{stamp.stage}' AND run_id = '{stamp.run_id}'"
    for attempt in range(1, _ATTEMPTS):
        try:
            return tables.overwrite(RUNS, frame, where=mine, told=told)
        except WriteConflict:  # another run of this stage ended at the same moment
            time.sleep(attempt)
    return tables.overwrite(RUNS, frame, where=mine, told=told)
