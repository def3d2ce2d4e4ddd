"""Wires stage `evaluate`: a split and any recommendations to tables `metrics` and `worst_lists`, and the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from vizrec_spark.config import Config
from vizrec_spark.config.models import GateConfig
from vizrec_spark.errors import CandidateHeld, EvaluationError
from vizrec_spark.evaluate.facts import ItemFacts, build_facts
from vizrec_spark.evaluate.gate import Decision, Measured, Rules, decide
from vizrec_spark.evaluate.holdout import training_tables, version_of_log
from vizrec_spark.evaluate.judged import among
from vizrec_spark.evaluate.looks import mean_looks, shown_items, vectors_of
from vizrec_spark.evaluate.measure import Judged, measure
from vizrec_spark.evaluate.protocol import candidate_items, split_by
from vizrec_spark.evaluate.provenance import refuse_contaminated
from vizrec_spark.evaluate.splits import known_before_test, relevant_items, require_users
from vizrec_spark.stage import Stage, StageContext, StageResult, ended, log
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.foreign import read_lists
from vizrec_spark.tables.schemas import EMBEDDINGS, IMAGES, INTERACTIONS, ITEMS, METRICS, WORST_LISTS


def run(context: StageContext) -> StageResult:
    """Measures every model of `evaluate.models` and replaces this run's rows of table `metrics`, and the rows of table
    `worst_lists` under this protocol.

    Raises: LeakFound when a model can have seen what it is tested on (see `refuse_contaminated`); TooFewUsers;
    CandidateHeld, after everything is written and with the account of it, when the gate holds the candidate.
    """
    spark, tables, config = context.spark, context.tables, context.config.evaluate
    models = config.models or {"recommendations": f"{config.training.rstrip('/')}/recommendations"}
    reference = config.reference or config.gate.current or next(iter(models))
    lists = {name: read_lists(spark, place) for name, place in models.items()}
    interactions = tables.read_at(INTERACTIONS, version_of_log(tables, config))
    split = split_by(interactions, config).persist()
    try:
        refuse_contaminated(context, models, training_tables(context), split)
        # What has left the catalogue since can be offered to nobody, and is asked of no model.
        items = tables.pinned(ITEMS)
        there = items.select("item_id")
        relevant = relevant_items(split, liked=config.relevant == "liked").join(there, "item_id", "left_semi")
        n_users = require_users(relevant, config.min_users, config.protocol)
        log.info("evaluate: %d models on %s users (%s)", len(models), f"{n_users:,}", config.protocol)
        if config.protocol == "cold_items":  # which are ranked among themselves
            cold = candidate_items(split, items, config)
            lists = {name: among(rows, cold) for name, rows in lists.items()}
        facts = collect_facts(tables, context.config, split, lists, items)
        judged = Judged(
            relevant,
            known_before_test(split).join(there, "item_id", "left_semi").select("user_id", "item_id"),
            lists,
            facts,
        )
        measured = measure(spark, [judged], config, reference)
        mine = f"run_id = '{context.run_id}' AND protocol = '{config.protocol}'"
        named = {"run_id": F.lit(context.run_id), "protocol": F.lit(config.protocol)}
        worst = measured.worst.withColumns(named)
        written = [
            # What single users took is not kept for longer than it is looked at.
            tables.overwrite(WORST_LISTS, worst, where=f"protocol = '{config.protocol}'"),
            tables.overwrite(METRICS, measured.metrics.withColumns(named), where=mine),
        ]
    finally:
        split.unpersist()
    found = tables.read(METRICS).where(mine).collect()
    notes = [f"{n_users:,} users, {len(models)} models, compared with {reference}"]
    figures = {"users": float(n_users), **_first_figures(found, f"ndcg@{config.cutoffs[0]}")}
    if config.gate.candidate is not None:
        decision = ask_gate(found, config.gate, config.min_users)
        _write(Path(config.gate.output), decision.to_json())
        figures |= decision.figures
        if not decision.promoted:
            held = CandidateHeld(f"{decision.sentence} The decision is in {config.gate.output}.")
            raise ended(held, StageResult(written, notes, figures))
        notes.append(decision.sentence)
    return StageResult(written, notes, figures)


STAGE = Stage("evaluate", "measure models on what users did afterwards, and ask the gate", run)


def collect_facts(
    tables: TableStore,
    config: Config,
    split: DataFrame,
    lists: Mapping[str, DataFrame],
    items: DataFrame,
) -> ItemFacts:
    """What metrics need to know about the catalogue, on the driver: about 200 bytes an item at the peak, and 12 bytes a
    number of the looks of items in the first places of `lists`, of which there are `evaluate.looks_items` at most."""
    known = known_before_test(split).select("user_id", "item_id").distinct()
    people = known.groupBy("item_id").agg(F.count(F.lit(1)).alias("people"))
    n_users = known.agg(F.count_distinct("user_id").alias("n")).collect()[0].n
    vectors, mean = _looks(tables, config, lists) if config.evaluate.looks else (None, None)
    return build_facts(
        items.select("item_id", "categories").toArrow(),
        people.toArrow(),
        n_users,
        candidates=candidate_items(split, items, config.evaluate).toArrow(),
        vectors=vectors,
        mean=mean,
    )


def _looks(
    tables: TableStore, config: Config, lists: Mapping[str, DataFrame]
) -> tuple[pa.Table | None, NDArray[np.float64] | None]:
    encoder = current_encoder(tables, config.embed)
    if encoder is None:
        return None, None
    embedded = tables.read(EMBEDDINGS).where(F.col("encoder_id") == encoder).select("sha256", "vector")
    pictures = tables.read(IMAGES).select("item_id", "sha256")
    most = config.evaluate.looks_items
    vectors = vectors_of(pictures, embedded, shown_items(lists, max(config.evaluate.cutoffs)), most)
    if vectors is None:
        log.warning(
            "evaluate: the first places hold items with more than %s pictures, so there is no diversity by looks; "
            "evaluate.looks_items says how many there may be",
            f"{most:,}",
        )
        return None, None
    return vectors, mean_looks(pictures, embedded)


def _first_figures(found: Sequence[Row], metric: str) -> dict[str, float]:
    """`metric` of each model over all users, by name."""
    rows = [row for row in found if row.slice == "all" and row.metric == metric]
    return {f"{metric}_{row.model}": row.value for row in rows if row.value is not None}


def ask_gate(metrics: Sequence[Row], gate: GateConfig, min_users: int) -> Decision:
    """The gate's decision on the rows of one run (table `metrics`).

    Raises: EvaluationError when the run has no such figure.
    """
    asked = (gate.slice, gate.metric, gate.candidate)
    row = next((row for row in metrics if (row.slice, row.metric, row.model) == asked), None)
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
        *(
            (row.difference, row.difference_lo, row.difference_hi, row.n_both)
            if gate.current is not None
            else ()
        ),
    )
    return decide(measured, Rules(gate.minimum, gate.tolerance, min_users))


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.{uuid4().hex}")
    scratch.write_text(text + "\n", encoding="utf-8")
    scratch.replace(file)
