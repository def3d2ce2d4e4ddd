"""Is the last run healthy: stages, refused input, recall, who gets offers, and what has moved since the run before.

Few rows come to the driver, and `findings` judges them; docs/reading-the-report.md says by which bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pyspark.sql import Row

from vizrec_spark.config import Config
from vizrec_spark.report.model import Answer, Facts
from vizrec_spark.report.sections.drift import Moved, drift
from vizrec_spark.report.sections.findings import (
    BAD,
    GOOD,
    LOOK,
    Finding,
    drift_findings,
    pictured_finding,
    recall_finding,
    refused_finding,
    served_finding,
    stage_findings,
)
from vizrec_spark.report.sections.refused import Refusals, Sample
from vizrec_spark.report.sections.runs import TOGETHER, Ran, by_step


@dataclass(frozen=True)
class Health:
    """Section `health`."""

    findings: tuple[Finding, ...]
    runs: tuple[Ran, ...] = ()
    moved: tuple[Moved, ...] = ()
    refusals: Refusals = field(default_factory=Refusals)
    samples: tuple[Sample, ...] = ()

    anchor = "health"
    label = "Health"
    template = "health.html.j2"

    @property
    def level(self) -> str:
        """That of the worst finding."""
        return next((level for level in (BAD, LOOK) if any(f.level == level for f in self.findings)), GOOD)

    @property
    def answer(self) -> Answer:
        """Whether the run is healthy, which run that is, and if not, what is wrong first."""
        wrong = [f for f in self.findings if f.level == BAD]
        odd = [f for f in self.findings if f.level == LOOK]
        word = "Not healthy" if wrong else "Healthy"
        told = (
            [f"{len(odd)} {'thing' if len(odd) == 1 else 'things'} to look at"] if odd and not wrong else []
        )
        first = " ".join(f.sentence for f in [*wrong, *odd][:2])
        good = first or " ".join(f.sentence for f in self.findings[:2])
        last = max((r for r in self.runs if r.stage in TOGETHER), key=lambda r: r.ended, default=None)
        when = (
            "" if last is None else f"Run `{last.run_id}` of {last.ended.day} {last.ended:%b %Y, %H:%M} UTC."
        )
        return Answer("Is the last run healthy?", self.level, ", ".join([word, *told]), good, when)


def show_health(
    runs: Sequence[Row],
    refused: tuple[Refusals, tuple[Sample, ...]],
    config: Config,
    facts: Facts,
    quality: Row | None,
) -> Health:
    """The section of collected `last_runs`; `quality`: the row of table `similarity_quality`, None where nobody has
    searched."""
    latest, before = by_step(runs, 1), by_step(runs, 2)
    moved = drift(
        {s: (r.rows, r.metrics) for s, r in latest.items()},
        {s: (r.rows, r.metrics) for s, r in before.items()},
    )
    judged = [
        *stage_findings(latest, datetime.now(UTC), timedelta(hours=config.report.fresh_hours)),
        refused_finding(latest, refused[0].of_ingest),
        served_finding(facts.n_served, facts.n_users),
        pictured_finding(None if quality is None else quality.n_items, facts.n_items),
        recall_finding(quality, config.similar.target_recall),
        *drift_findings(moved),
    ]
    ordered = sorted((f for f in judged if f is not None), key=lambda f: (BAD, LOOK, GOOD).index(f.level))
    each = {(run.run_id, run.stage): run for run in latest.values()}  # a promotion stands there twice
    in_order = sorted(each.values(), key=lambda run: run.ended)
    return Health(tuple(ordered), tuple(in_order), tuple(moved), *refused)
