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
from vizrec_spark.report.sections.runs import KEPT
from vizrec_spark.stage import StageContext


@dataclass(frozen=True)
class Quality:
    """Section `quality` under `protocol`; `evaluations` (newest first), of which the charts show the last `runs.KEPT`;
    `others`: the protocols of the newest of them that they do not show, `candidate`: that of the gate, held or not."""

    protocol: str | None = None
    evaluations: tuple[Evaluation, ...] = ()
    charts: tuple[Chart, ...] = ()
    answer: Answer = NOTHING
    others: tuple[str, ...] = ()
    candidate: str | None = None

    anchor = "quality"
    label = "Quality"
    template = "quality.html.j2"

    @property
    def model(self) -> str | None:
        """The model that the section is about: the gate's candidate where it was measured and let pass, else the main
        one."""
        if not self.evaluations:
            return None
        now = self.evaluations[0]
        return now.main if now.held else self.candidate or now.main


def read_quality(context: StageContext, runs: Sequence[Row]) -> Quality:
    """The section, from collected `last_runs`. One small job."""
    return show_quality(read_quality_rows(context.tables, runs), context.config.evaluate)


def show_quality(found: QualityRows, config: EvaluateConfig) -> Quality:
    """The section of rows of table `metrics`: under `config.protocol` where a run was measured so, and about the
    candidate where the gate was asked about one."""
    chosen = choose_protocol(found, config.protocol)
    if chosen is None:
        return Quality()
    protocol, others = chosen
    evaluations = evaluations_of(found, protocol)
    if not evaluations:
        return Quality()
    return Quality(
        protocol,
        evaluations,
        charts_of(evaluations[:KEPT]),
        judge(evaluations, config.gate),
        others,
        evaluations[0].candidate(config.gate),
    )
