"""Is the last run healthy: stages, refused input, recall, who gets offers, and what has moved since the run before.

`read_health` brings a few rows to the driver, `findings` judges them; docs/reading-the-report.md says by which bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pyspark.sql import Row

from vizrec_spark.config import Config
from vizrec_spark.report.model import Answer
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
from vizrec_spark.report.sections.refused import Refusals, Sample, read_refusals
from vizrec_spark.report.sections.runs import TOGETHER, Ran, by_step, last_runs
from vizrec_spark.stage import StageContext
from vizrec_spark.tables.schemas import RECOMMENDATIONS, RESTORES, RUNS, USERS
from vizrec_spark.tables.standing import standing


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


@dataclass(frozen=True)
class HealthRows:
    """What the tables know: the last two runs of each stage, what was refused, and how many users have offers."""

    runs: Sequence[Row]
    refusals: Refusals
    samples: tuple[Sample, ...]
    served: int


def read_health(context: StageContext) -> HealthRows:
    """The rows of the section; runs five small jobs."""
    tables = context.tables
    stands = standing(tables.read_or_empty(RUNS), tables.read_or_empty(RESTORES))
    first = tables.read_or_empty(RECOMMENDATIONS).where("rank = 1").select("user_id")
    served = first.join(tables.read(USERS).select("user_id"), "user_id", "left_semi")
    return HealthRows(last_runs(stands, 2).collect(), *read_refusals(context), served.count())


def show_health(found: HealthRows, config: Config, n_items: int, n_users: int, quality: Row | None) -> Health:
    """The section; `quality`: the row of table `similarity_quality`, None where nobody has searched."""
    latest, before = by_step(found.runs, 1), by_step(found.runs, 2)
    moved = drift(
        {s: (r.rows, r.metrics) for s, r in latest.items()},
        {s: (r.rows, r.metrics) for s, r in before.items()},
    )
    judged = [
        *stage_findings(latest, datetime.now(UTC), timedelta(hours=config.report.fresh_hours)),
        refused_finding(latest),
        served_finding(found.served, n_users),
        pictured_finding(None if quality is None else quality.n_items, n_items),
        recall_finding(quality, config.similar.target_recall),
        *drift_findings(moved),
    ]
    ordered = sorted((f for f in judged if f is not None), key=lambda f: (BAD, LOOK, GOOD).index(f.level))
    each = {(run.run_id, run.stage): run for run in latest.values()}  # a promotion stands there twice
    in_order = sorted(each.values(), key=lambda run: run.ended)
    return Health(tuple(ordered), tuple(in_order), tuple(moved), found.refusals, found.samples)
