"""Which runs count: of each step of the pipeline the last run, and the one before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import DataFrame, Row, Window
from pyspark.sql import functions as F

from vizrec_spark.report.facts import moment
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.schemas import RESTORES, RUNS
from vizrec_spark.tables.standing import standing

BUILDS_ON = {
    "ingest": (),
    "embed": ("ingest",),
    "similar": ("embed",),
    "als": ("ingest",),
    "recommend": ("similar", "als"),
}
"""The steps that lead to an offer, each with those whose tables it reads. Job `promote` is a step `als` as well."""

TOGETHER = ("ingest", "similar", "recommend")
"""The steps that one run has; a schedule may run `embed` and the training on their own."""

GATED = ("evaluate", "promote")
"""Jobs that the gate may hold."""

KEPT = 8
"""Runs of each step that are read, the last ones."""

KEPT_EVALUATIONS = 64
"""Runs of `evaluate` that are read: with several protocols a day the last few do not reach back for a week."""

STAGES = (*BUILDS_ON, *GATED)
"""Stages whose records count. What else leaves one, such as upkeep or a restore, is no step of the pipeline."""


@dataclass(frozen=True)
class Ran:
    """A run of a stage: when it ended (UTC), its outcome, seconds, rows changed, rows of each table that it wrote, and
    figures by name."""

    run_id: str
    stage: str
    ended: datetime
    outcome: str
    seconds: float
    changed: int
    rows: Mapping[str, int]
    metrics: Mapping[str, float]


def read_runs(tables: TableStore) -> list[Row]:
    """Collected `last_runs` of what stands. A small job or two."""
    stands = standing(tables.read_or_empty(RUNS), tables.read_or_empty(RESTORES))
    return last_runs(stands, KEPT, KEPT_EVALUATIONS).collect()


def last_runs(runs: DataFrame, n: int, n_evaluations: int) -> DataFrame:
    """The `n` last runs of each step, and `n_evaluations` of step `evaluate`: the columns of table `runs`, `step`, `at`
    (seconds since 1970), `back` (1: the last).

    A promotion that the gate let pass has learned a model, so it is a run of step `als` beside `promote`. A stage that
    one run has ended more than once, for somebody cleared it and ran it again, counts once, as it ended last.
    """
    learned = (F.col("stage") == "promote") & (F.col("outcome") == "done")
    steps = F.when(learned, F.array(F.lit("promote"), F.lit("als"))).otherwise(F.array("stage"))
    known = runs.where(F.col("stage").isin(*STAGES)).withColumn("step", F.explode(steps))
    of_run = Window.partitionBy("step", "run_id").orderBy(F.desc("finished_at"))
    once = known.withColumn("again", F.row_number().over(of_run)).where("again = 1").drop("again")
    order = Window.partitionBy("step").orderBy(F.desc("finished_at"), "run_id")
    at = F.col("finished_at").cast("double")
    return once.withColumns({"back": F.row_number().over(order), "at": at}).where(
        F.col("back") <= F.when(F.col("step") == "evaluate", n_evaluations).otherwise(n)
    )


def by_step(rows: Sequence[Row], back: int) -> dict[str, Ran]:
    """Of collected `last_runs`, by step, those that lie `back` behind (1: the last)."""
    return {row.step: _ran(row) for row in rows if row.back == back}


def _ran(row: Row) -> Ran:
    ended = moment(row.at)
    assert ended is not None  # for mypy: the column is never null
    return Ran(
        row.run_id,
        row.stage,
        ended,
        row.outcome,
        row.seconds,
        sum(wrote.changed for wrote in row.tables),
        {wrote.table: wrote.rows for wrote in row.tables},
        dict(row.metrics),
    )
