"""Job `promote`: the candidate that this run has measured goes into service, if the gate lets it."""

from __future__ import annotations

from dataclasses import replace

from pyspark.sql import functions as F

from vizrec_spark.als.settings import chosen_settings
from vizrec_spark.als.stage import STAGE as ALS
from vizrec_spark.config import Config
from vizrec_spark.config.models import AlsConfig
from vizrec_spark.config.models.als import settings_of
from vizrec_spark.errors import CandidateHeld, ConfigError, TableError
from vizrec_spark.evaluate.holdout import training_tables
from vizrec_spark.evaluate.stage import ask_gate
from vizrec_spark.stage import Stage, StageContext, StageResult, ended
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.models import factors_at
from vizrec_spark.tables.schemas import (
    ITEM_FACTORS,
    METRICS,
    PROMOTIONS,
    RECOMMENDATIONS,
    TUNING_TRIALS,
    USER_FACTORS,
)


def run(context: StageContext) -> StageResult:
    """Learns from the whole log with the settings of the candidate, and writes down that this model is in service.

    The candidate's settings are those that `als.settings` means on the tables below `evaluate.training`, where it has
    learned. The gate is asked again, on the rows that job `evaluate` of the same run id wrote to table `metrics`:
    nothing is measured twice, and nothing is published that these rows do not let pass. The row of `promotions`
    comes last and names the versions of the factors, so until it is there `recommend` (with `recommend.model:
    promoted`) goes on with the model of before.
    Raises: TableError where this run has measured nothing, or the candidate's tables were written to since;
    CandidateHeld when the gate holds the candidate; then no table is touched.
    """
    tables, config = context.tables, context.config.evaluate
    mine = (F.col("run_id") == context.run_id) & (F.col("protocol") == config.protocol)
    found = tables.read(METRICS).where(mine).collect()
    if not found:
        raise TableError(
            f"Run {context.run_id} has measured nothing under protocol {config.protocol}: run job `evaluate` with this "
            "--run-id and configuration first."
        )
    decision = ask_gate(found, config.gate, config.min_users)
    if not decision.promoted:
        held = CandidateHeld(f"{decision.sentence} Nothing was published.")
        raise ended(held, StageResult(metrics=decision.figures))
    training = training_tables(context)
    _require_unchanged(context, training)
    settings = chosen_settings(training, context.config)
    learned = ALS.run(replace(context, config=_configured(context.config, settings)))
    left = {written.table: written.version for written in learned.written}
    versions = left[USER_FACTORS.name], left[ITEM_FACTORS.name]
    model_id = factors_at(tables, *versions).model_id
    if model_id is None:
        raise TableError("Table interactions has nothing to learn from, so there is no model to promote.")
    known = tables.read_or_empty(PROMOTIONS)
    before = (
        known.where(F.col("run_id") != context.run_id).agg(F.max("number").alias("n")).collect()[0].n or 0
    )
    row = (before + 1, context.run_id, model_id, *versions, dict(settings_of(settings)), decision.to_json())
    written = tables.upsert(PROMOTIONS, context.spark.createDataFrame([row], PROMOTIONS.schema))
    notes = [
        decision.sentence,
        *learned.notes,
        f"model {model_id} is in service, promotion {before + 1}",
    ]
    return StageResult([*learned.written, written], notes, {**learned.metrics, **decision.figures})


def _require_unchanged(context: StageContext, training: TableStore) -> None:
    """Raises: TableError where the tables of the candidate are not those that this run has measured."""
    commits = context.tables.commits(METRICS, limit=1000)
    measured = max((c["timestamp"] for c in commits if c.get("run_id") == context.run_id), default=None)
    if measured is None:
        raise TableError(
            f"Run {context.run_id} has measured the candidate so long ago that the history of table metrics does not "
            "tell when: evaluate it in a run of its own."
        )
    for table in (TUNING_TRIALS, ITEM_FACTORS, RECOMMENDATIONS):
        changed = training.changed_at(table) if training.exists(table) else None
        if changed is not None and changed > measured:
            raise TableError(
                f"Table {table.name} at {training.location(table)} was written to since run {context.run_id} measured "
                "the candidate there, so what it holds now has passed no gate: evaluate it in a run of its own."
            )


def check(config: Config) -> None:
    """Raises: ConfigError where no gate is configured."""
    if config.evaluate.gate.candidate is None:
        raise ConfigError("Job `promote` needs evaluate.gate.candidate, and what it is held against.")


STAGE = Stage("promote", "put the model that passed the gate into service", run, check)


def _configured(config: Config, als: AlsConfig) -> Config:
    return config.model_copy(update={"als": als.model_copy(update={"settings": "configured"})})
