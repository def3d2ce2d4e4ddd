"""How good each model is: the last evaluation with its intervals, differences and slices, and those before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Row

from vizrec_spark.config.models import EvaluateConfig
from vizrec_spark.report.model import Answer, Chart
from vizrec_spark.report.sections.better import NOTHING, judge
from vizrec_spark.report.sections.evaluations import (
    Evaluation,
    QualityRows,
    choose_protocol,
    evaluations_of,
    read_quality_rows,
)
from vizrec_spark.report.sections.quality_charts import charts_of
from vizrec_spark.stage import StageContext


@dataclass(frozen=True)
class Quality:
    """Section `quality`; `protocol` and `evaluations` (newest first) are those that the charts show, `others` the
    protocols of the newest run that they do not."""

    protocol: str | None = None
    evaluations: tuple[Evaluation, ...] = ()
    charts: tuple[Chart, ...] = ()
    answer: Answer = NOTHING
    others: tuple[str, ...] = ()

    anchor = "quality"
    label = "Quality"
    template = "quality.html.j2"


def read_quality(context: StageContext, runs: Sequence[Row]) -> Quality:
    """The section, from collected `last_runs`. One small job."""
    return show_quality(read_quality_rows(context.tables, runs), context.config.evaluate)


def show_quality(found: QualityRows, config: EvaluateConfig) -> Quality:
    """The section of rows of table `metrics`: under `config.protocol` where the newest run that has rows was measured
    so, and about `config.gate.candidate` where one is configured."""
    chosen = choose_protocol(found, config.protocol)
    if chosen is None:
        return Quality()
    protocol, others = chosen
    evaluations = evaluations_of(found, protocol)
    if not evaluations:
        return Quality()
    return Quality(
        protocol, evaluations, charts_of(evaluations), judge(evaluations, config.gate.candidate), others
    )
