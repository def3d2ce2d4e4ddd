"""Wires stage `evaluate`: a split of the interactions and any recommendations to table `metrics`, and the gate."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config import Config
from vizrec_spark.config.models import GateConfig
from vizrec_spark.errors import CandidateHeld, EvaluationError
from vizrec_spark.evaluate.facts import ItemFacts, build_facts
from vizrec_spark.evaluate.gate import Decision, Measured, Rules, decide
from vizrec_spark.evaluate.holdout import training_tables
from vizrec_spark.evaluate.leakage import leaked_interactions, refuse_leaks
from vizrec_spark.evaluate.measure import Judged, measure
from vizrec_spark.evaluate.protocol import candidate_items, split_by
from vizrec_spark.evaluate.splits import known_before_test, relevant_items, require_users
from vizrec_spark.stage import Stage, StageContext, StageResult, log
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.foreign import read_lists
from vizrec_spark.tables.schemas import EMBEDDINGS, IMAGES, INTERACTIONS, ITEMS, METRICS


def run(context: StageContext) -> StageResult:
    """Measures every model of `evaluate.models` and replaces this run's rows of table `metrics`.

    Raises: LeakFound when the models' training window holds what they are tested on; TooFewUsers; CandidateHeld, after
    everything is written, when the gate holds the candidate.
    """
    spark, tables, config = context.spark, context.tables, context.config.evaluate
    models = config.models or {"recommendations": f"{config.training.rstrip('/')}/recommendations"}
    reference = config.reference or config.gate.current or next(iter(models))
    lists = {name: read_lists(spark, place) for name, place in models.items()}
    split = split_by(tables.read(INTERACTIONS), config).persist()
    try:
        refuse_leaks(
            ", ".join(models),
            interactions=leaked_interactions(training_tables(context).read(INTERACTIONS), split),
        )
        relevant = relevant_items(split)
        n_users = require_users(relevant, config.min_users, config.protocol)
        facts = collect_facts(tables, context.config, split)
        log.info("evaluate: %d models on %s users (%s)", len(models), f"{n_users:,}", config.protocol)
        if config.protocol == "cold_items":
            # Ranked among themselves: what else a list holds is taken out, and the rest moves up.
            cold = F.broadcast(candidate_items(split, tables.read(ITEMS), config))
            lists = {name: rows.join(cold, "item_id", "left_semi") for name, rows in lists.items()}
        judged = Judged(relevant, known_before_test(split).select("user_id", "item_id"), lists, facts)
        rows = measure(spark, [judged], config, reference)
        named = rows.withColumns({"run_id": F.lit(context.run_id), "protocol": F.lit(config.protocol)})
        mine = f"run_id = '{context.run_id}' AND protocol = '{config.protocol}'"
        written = tables.overwrite(METRICS, named, where=mine)
    finally:
        split.unpersist()
    found = tables.read(METRICS).where(mine)
    notes = [f"{n_users:,} users, {len(models)} models, compared with {reference}"]
    if config.gate.candidate is not None:
        decision = ask_gate(found, config.gate, config.min_users)
        _write(Path(config.gate.output), decision.to_json())
        if not decision.promoted:
            raise CandidateHeld(f"{decision.sentence} The decision is in {config.gate.output}.")
        notes.append(decision.sentence)
    return StageResult([written], notes)


STAGE = Stage("evaluate", "measure models on what users did afterwards, and ask the gate", run)


def collect_facts(tables: TableStore, config: Config, split: DataFrame) -> ItemFacts:
    """What metrics need to know about the catalogue, on the driver (see `ItemFacts` for its size)."""
    known = known_before_test(split).select("user_id", "item_id").distinct()
    people = known.groupBy("item_id").agg(F.count(F.lit(1)).alias("people"))
    n_users = known.agg(F.count_distinct("user_id").alias("n")).collect()[0].n
    items = tables.read(ITEMS)
    encoder = current_encoder(tables, config.embed) if config.evaluate.looks else None
    vectors = None
    if encoder is not None:
        embedded = tables.read(EMBEDDINGS).where(F.col("encoder_id") == encoder).select("sha256", "vector")
        pictures = tables.read(IMAGES).select("item_id", "path", "sha256")
        vectors = (
            pictures.join(embedded, "sha256").orderBy("item_id", "path").select("item_id", "vector").toArrow()
        )
    return build_facts(
        items.select("item_id", "categories").toArrow(),
        people.toArrow(),
        n_users,
        candidates=candidate_items(split, items, config.evaluate).toArrow(),
        vectors=vectors,
    )


def ask_gate(metrics: DataFrame, gate: GateConfig, min_users: int) -> Decision:
    """The gate's decision on the rows of one run (table `metrics`).

    Raises: EvaluationError when the run has no such figure.
    """
    wanted = metrics.where((F.col("slice") == gate.slice) & (F.col("metric") == gate.metric))
    row = wanted.where(F.col("model") == F.lit(gate.candidate)).first()
    if row is None or (gate.current is not None and row.reference != gate.current):
        raise EvaluationError(
            f"The gate asks for {gate.metric} of {gate.candidate} in slice {gate.slice}"
            f"{f' compared with {gate.current}' if gate.current else ''}, which this run did not measure. Check "
            "evaluate.gate, evaluate.cutoffs and evaluate.reference."
        )
    measured = Measured(
        row.model,
        row.metric,
        row.value,
        row.value if row.lo is None else row.lo,
        row.value if row.hi is None else row.hi,
        row.n_users,
        gate.current,
        *((row.difference, row.difference_lo, row.difference_hi) if gate.current is not None else ()),
    )
    return decide(measured, Rules(gate.minimum, gate.tolerance, min_users))


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.{uuid4().hex}")
    scratch.write_text(text + "\n", encoding="utf-8")
    scratch.replace(file)
