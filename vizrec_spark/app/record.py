"""The record of a stage that came to its end: its row in table `runs`, which is its last commit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from vizrec_spark.app.logs import redacted
from vizrec_spark.stage import StageContext, StageResult
from vizrec_spark.tables.encoders import encoder_key
from vizrec_spark.tables.schemas import ALL_TABLES, RUNS

Outcome = Literal["done", "held"]


def record_run(
    context: StageContext,
    result: StageResult,
    seconds: float,
    outcome: Outcome = "done",
    *,
    partial: bool = False,
) -> None:
    """Adds a row for this run and stage to table `runs`.

    The commit's metadata says the same as the row, beside the stamp: `outcome`, `seconds`, `encoder`, `tables` (by
    name: version, rows, changed), `metrics` and `notes`, and for a restore `takes_back`, the runs and stages whose
    records no longer stand. Where only part of the work was done it also says `partial`: true, and the stage is not to
    be taken for done. So whoever reads Delta's log needs neither Spark nor Parquet to judge a run. Neither holds
    a secret (`logs.redacted`). Tables of other places, such as a training window, have no part in it.

    Raises: TableError when the table cannot be written.
    """
    tables, stamp = context.tables, context.tables.stamp
    own = {table.name: table for table in ALL_TABLES}
    mine = [w for w in result.written if w.table in own and w.location == tables.location(own[w.table])]
    last = {written.table: written for written in mine}  # as the last of several steps left it
    changed = {name: sum(w.changed for w in mine if w.table == name) for name in last}
    metrics = {name: float(value) for name, value in result.metrics.items()}
    encoder, notes = redacted(encoder_key(context.config.embed)), [redacted(note) for note in result.notes]
    wrote = [(name, w.version, w.rows, changed[name], tables.size(own[name])) for name, w in last.items()]
    row = (
        *(stamp.run_id, stamp.stage, stamp.config_hash, outcome, datetime.now(UTC), seconds),
        *(encoder, wrote, metrics, notes),
    )
    told = {
        "outcome": outcome,
        "seconds": round(seconds, 3),
        "encoder": encoder,
        "tables": {name: {"version": v, "rows": n, "changed": c} for name, v, n, c, _ in wrote},
        "metrics": metrics,
        "notes": notes,
        **({"partial": True} if partial else {}),
        **({"takes_back": [list(unit) for unit in result.takes_back]} if result.takes_back else {}),
    }
    tables.append(RUNS, context.spark.createDataFrame([row], RUNS.schema), told)
