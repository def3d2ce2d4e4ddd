"""The last evaluations: which models, metrics and protocols they have, out of tables `runs` and `metrics`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pyspark.sql import Row
from pyspark.sql import functions as F

from vizrec_spark.config.models import GateConfig
from vizrec_spark.report.facts import moment
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.schemas import METRICS

RANKING = ("ndcg", "recall", "hit_rate", "map", "mrr")
"""Metrics of which the first that was measured is the headline, by what stands before the @."""

_NAMES = {"ndcg": "nDCG", "map": "MAP", "mrr": "MRR", "auc": "AUC"}
_ABLATION = re.compile(r"(^|[ _-])without[ _-]")
UNNAMED = "recommendations"
"""What stage `evaluate` calls the tables' own model."""


@dataclass(frozen=True)
class Evaluation:
    """One run of stage `evaluate`: when it ended (UTC), its rows of table `metrics`, whether it asked the gate, and
    whether that held the candidate."""

    run_id: str
    ended: datetime
    rows: tuple[Row, ...]
    gated: bool = False
    held: bool = False

    @property
    def models(self) -> list[str]:
        """In order of their names, parts taken away last."""
        return sorted({row.model for row in self.rows}, key=lambda m: (is_ablation(m), m))

    @property
    def whole(self) -> list[str]:
        """The models of which no part was taken away."""
        return [model for model in self.models if not is_ablation(model)]

    @property
    def main(self) -> str | None:
        """The model that is followed from one evaluation to the next: the tables' own, else the reference, which the
        others are held against, else the first by name; never an ablation."""
        references = {row.reference for row in self.rows}
        first = [m for m in self.whole if m == UNNAMED] + [m for m in self.whole if m in references]
        return next(iter(first or self.whole), None)

    def candidate(self, gate: GateConfig) -> str | None:
        """The model that the gate was asked about: that of `gate`, else, of a run that asked it with a configuration of
        its own, the one that was held against the reference. None where that is no one model."""
        if gate.candidate is not None:
            return gate.candidate if gate.candidate in self.models else None
        compared = {
            row.model for row in self.rows if row.difference is not None and not is_ablation(row.model)
        }
        return next(iter(compared)) if self.gated and len(compared) == 1 else None

    def find(self, model: str, metric: str, of: str = "all") -> Row | None:
        """The row of a model, metric and slice."""
        return next((r for r in self.rows if (r.model, r.metric, r.slice) == (model, metric, of)), None)

    def metrics(self, wanted: Iterable[str]) -> list[str]:
        """One metric of each name, at 10 or the shortest list."""
        there = sorted({row.metric for row in self.rows if row.slice == "all"}, key=_length)
        first = {name: next((m for m in there if m.partition("@")[0] == name), None) for name in wanted}
        return [metric for metric in first.values() if metric is not None]

    @property
    def headline(self) -> str | None:
        """The metric that the answer is about."""
        return next(iter(self.metrics(RANKING)), None)


@dataclass(frozen=True)
class QualityRows:
    """Rows of table `metrics`, by run the second since 1970 at which it ended, the runs that asked the gate,
    and those whose candidate it held."""

    metrics: Sequence[Row] = ()
    ended: Mapping[str, float] = field(default_factory=dict)
    gated: Collection[str] = ()
    held: Collection[str] = ()


def read_quality_rows(tables: TableStore, runs: Sequence[Row]) -> QualityRows:
    """The rows of the evaluations among collected `last_runs`. One small job."""
    mine = [row for row in runs if row.step == "evaluate"]
    ended = {row.run_id: row.at for row in mine}
    gated = {row.run_id for row in mine if "gate_passed" in row.metrics}
    if not ended:
        return QualityRows()
    of_these = F.col("run_id").isin(*ended)
    held = {row.run_id for row in mine if row.outcome == "held"}
    return QualityRows(tables.read_or_empty(METRICS).where(of_these).collect(), ended, gated, held)


def choose_protocol(found: QualityRows, wanted: str | None) -> tuple[str, tuple[str, ...]] | None:
    """The protocol that the page is about, `wanted` or, where no run has it, the first by name of the newest run; and
    the others of the newest run that has it. None without rows."""
    having = [row.run_id for row in found.metrics if row.protocol == wanted] or [
        r.run_id for r in found.metrics
    ]
    newest = max(having, key=lambda run: found.ended[run], default=None)
    if newest is None:
        return None
    there = sorted({row.protocol for row in found.metrics if row.run_id == newest})
    chosen = wanted if wanted in there else there[0]
    return str(chosen), tuple(p for p in there if p != chosen)


def evaluations_of(found: QualityRows, protocol: str) -> tuple[Evaluation, ...]:
    """Those under one protocol, the newest first."""
    of: dict[str, list[Row]] = {}
    for row in found.metrics:
        if row.protocol == protocol:
            of.setdefault(row.run_id, []).append(row)
    ordered = sorted(of, key=lambda run: -found.ended[run])
    timed = [(run, moment(found.ended[run])) for run in ordered]
    return tuple(
        Evaluation(run, at, tuple(of[run]), run in found.gated, run in found.held)
        for run, at in timed
        if at is not None
    )


def is_ablation(model: str) -> bool:
    """Whether the name says that a part was taken away, as in `hybrid_without_visual`."""
    return _ABLATION.search(model) is not None


def metric_name(metric: str) -> str:
    """``nDCG@10`` for ``ndcg@10``."""
    name, at, k = metric.partition("@")
    return _NAMES.get(name, name.replace("_", " ").capitalize()) + at + k


def _length(metric: str) -> tuple[bool, int]:
    k = metric.partition("@")[2]
    return k != "10", int(k) if k.isdecimal() else 0
