"""Is the last run healthy: stages, refused input, recall, who gets offers, and what has moved since the run before.

`read_health` brings a few rows to the driver, `findings` judges them; docs/reading-the-report.md says by which bounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pyspark.sql import DataFrame, Row, Window
from pyspark.sql import functions as F

from vizrec_spark.report.facts import moment
from vizrec_spark.report.model import Answer
from vizrec_spark.report.sections.drift import Moved, drift
from vizrec_spark.report.sections.refused import Refusals, Sample, read_refusals
from vizrec_spark.stage import StageContext
from vizrec_spark.tables.schemas import RECOMMENDATIONS, RUNS, USERS

BUILDS_ON = {
    "ingest": (),
    "embed": ("ingest",),
    "similar": ("embed",),
    "als": ("ingest",),
    "recommend": ("similar", "als"),
}
"""The stages that a daily run has, each with those whose tables it reads."""

GOOD, LOOK, BAD = "good", "look", "bad"
REFUSED_SHARE, SERVED_SHARE, PICTURED_SHARE = 0.05, 0.95, 0.8
"""More input refused, or fewer items with a picture, is worth a look; fewer users with offers is wrong."""

_BACK = 2


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


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: how good it is (`good`, `look`, `bad`), in a word or two, and in a sentence."""

    level: str
    title: str
    sentence: str


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
        """Whether the run is healthy, and if not, what is wrong first."""
        wrong = [f for f in self.findings if f.level == BAD]
        odd = [f for f in self.findings if f.level == LOOK]
        word = "Not healthy" if wrong else "Healthy"
        told = (
            [f"{len(odd)} {'thing' if len(odd) == 1 else 'things'} to look at"] if odd and not wrong else []
        )
        first = " ".join(f.sentence for f in [*wrong, *odd][:2])
        good = first or " ".join(f.sentence for f in self.findings[:2])
        return Answer("Is the last run healthy?", self.level, ", ".join([word, *told]), good)


def read_health(context: StageContext, n_items: int, n_users: int, n_compared: int | None) -> Health:
    """The section; runs five small jobs. `n_compared`: items that have look-alikes, None where nobody has searched."""
    tables, config = context.tables, context.config
    rows = last_runs(tables.read_or_empty(RUNS), _BACK).collect()
    latest, before = _by_stage(rows, 1), _by_stage(rows, 2)
    refusals, samples = read_refusals(context)
    first = tables.read_or_empty(RECOMMENDATIONS).where("rank = 1").select("user_id")
    served = first.join(tables.read(USERS).select("user_id"), "user_id", "left_semi").count()
    moved = drift(
        {s: (r.rows, r.metrics) for s, r in latest.items()},
        {s: (r.rows, r.metrics) for s, r in before.items()},
    )
    found = [
        *stage_findings(latest),
        refused_finding(latest),
        served_finding(served, n_users),
        pictured_finding(n_compared, n_items),
        recall_finding(latest, config.similar.target_recall),
        *drift_findings(moved),
    ]
    ordered = sorted((f for f in found if f is not None), key=lambda f: (BAD, LOOK, GOOD).index(f.level))
    in_order = sorted(latest.values(), key=lambda run: run.ended)
    return Health(tuple(ordered), tuple(in_order), tuple(moved), refusals, samples)


def last_runs(runs: DataFrame, n: int) -> DataFrame:
    """The `n` last runs of each stage: the columns of table `runs`, `at` (seconds since 1970), `back` (1: the last)."""
    order = Window.partitionBy("stage").orderBy(F.desc("finished_at"), "run_id")
    at = F.col("finished_at").cast("double")
    return runs.withColumns({"back": F.row_number().over(order), "at": at}).where(F.col("back") <= n)


def stage_findings(latest: Mapping[str, Ran]) -> list[Finding]:
    """Whether every stage has ended, in the order in which they build on each other, and what the gate has said."""
    missing = [stage for stage in BUILDS_ON if stage not in latest]
    found = [
        Finding(BAD, f"Stage {stage}", f"Stage {stage} has never come to its end here: run `vizrec {stage}`.")
        for stage in missing
    ]
    for stage, needs in BUILDS_ON.items():
        newer = [
            n for n in needs if n in latest and stage in latest and latest[n].ended > latest[stage].ended
        ]
        for need in newer:
            told = (
                f"Stage {need} has ended after {stage}, which knows nothing of it yet: run `vizrec {stage}`."
            )
            found.append(Finding(LOOK, f"Stage {stage}", told))
    held = [run for run in latest.values() if run.outcome == "held"]
    for run in held:
        told = f"The gate held the candidate back on {run.ended:%d %b %Y}, so the model before it stays in service."
        found.append(Finding(LOOK, f"Stage {run.stage}", told))
    if not found:
        last = max((latest[stage] for stage in BUILDS_ON), key=lambda run: run.ended)
        ended = f"{last.ended:%d %b %Y at %H:%M} UTC"
        told = f"All {len(BUILDS_ON)} stages came to their end, the last ({last.stage}) on {ended}."
        found.append(Finding(GOOD, "Stages", told))
    return found


def refused_finding(latest: Mapping[str, Ran]) -> Finding | None:
    """How much of the input was refused, by the source of which most was."""
    if "ingest" not in latest:
        return None
    end = "_refused_share"
    shares = {k.removesuffix(end): v for k, v in latest["ingest"].metrics.items() if k.endswith(end)}
    if not shares:
        return None
    source = max(shares, key=lambda name: shares[name])
    if shares[source] == 0:
        return Finding(GOOD, "Input", "Every record was accepted.")
    level = LOOK if shares[source] > REFUSED_SHARE else GOOD
    return Finding(
        level, "Input", f"{shares[source]:.1%} of the input {source} was refused; the reasons stand below."
    )


def served_finding(served: int, users: int) -> Finding | None:
    """How many users have at least one offer."""
    if not users:
        return Finding(LOOK, "Users", "There are no users yet.")
    if served == users:
        return Finding(GOOD, "Users", f"Every one of {users:,} users has offers.")
    level = LOOK if served >= SERVED_SHARE * users else BAD
    return Finding(
        level, "Users", f"{users - served:,} of {users:,} users have no offers: run `vizrec recommend`."
    )


def pictured_finding(compared: int | None, items: int) -> Finding | None:
    """How many items have a picture that was compared."""
    if compared is None or not items:
        return None
    level = GOOD if compared >= PICTURED_SHARE * items else LOOK
    return Finding(
        level,
        "Pictures",
        f"{compared:,} of {items:,} items have a picture that was compared with the others.",
    )


def recall_finding(latest: Mapping[str, Ran], target: float) -> Finding | None:
    """Whether the search finds as many look-alikes as was asked for."""
    recall = latest["similar"].metrics.get("recall") if "similar" in latest else None
    if recall is None:
        return None
    level, told = (GOOD, "at least") if recall >= target else (BAD, "less than")
    return Finding(
        level,
        "Search",
        f"The search finds {recall:.1%} of the nearest look-alikes, {told} the {target:.0%} asked for.",
    )


def drift_findings(moved: Sequence[Moved]) -> list[Finding]:
    """What has moved further than it may, each in a sentence; one sentence where nothing has."""
    found = [Finding(m.level, m.name, m.sentence) for m in moved if m.level != GOOD]
    if found or not moved:
        return found
    return [Finding(GOOD, "Drift", "Rows, sources and likeness are close to those of the run before.")]


def _by_stage(rows: Sequence[Row], back: int) -> dict[str, Ran]:
    return {row.stage: _ran(row) for row in rows if row.back == back}


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
