"""What is judged of a run, and by which bounds. Plain values in, findings out; docs/reading-the-report.md has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pyspark.sql import Row

from vizrec_spark.report.sections.drift import Moved
from vizrec_spark.report.sections.runs import BUILDS_ON, GATED, TOGETHER, Ran

GOOD, LOOK, BAD = "good", "look", "bad"

REFUSED_LOOK, REFUSED_BAD = 0.05, 0.20
"""Share of an input that was refused, above which it is to be looked at, and wrong."""

SERVED_SHARE, PICTURED_SHARE = 0.95, 0.8
"""Fewer users with offers is wrong; fewer items with a picture is worth a look."""

MODEL_AGE = timedelta(days=8)
"""How much older than the data a promoted model may be: it is trained by the week, the data come by the day."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: how good it is (`good`, `look`, `bad`), in a word or two, and in a sentence.

    `when`: what differs from run to run whatever is found, its times and its name.
    """

    level: str
    title: str
    sentence: str
    when: str = ""


def stage_findings(latest: Mapping[str, Ran], now: datetime, fresh: timedelta) -> list[Finding]:
    """Whether every step has ended, of late, in one run, in the order in which they build on each other, and what the
    gate has said. `latest` by step; no run should be older than `fresh`."""
    found = [_missing(step) for step in BUILDS_ON if step not in latest]
    for step, needs in BUILDS_ON.items():
        there = [need for need in needs if step in latest and need in latest]
        found += [_overtaken(step, latest[need]) for need in there if _late(latest[step], latest[need])]
    found += [*_old(latest, now, fresh), *_several(latest), *_held(latest)]
    if found:
        return found
    last = max((latest[step] for step in BUILDS_ON), key=lambda run: run.ended)
    told = f"All {len(BUILDS_ON)} stages came to their end, each after those that it builds on."
    return [Finding(GOOD, "Stages", told, f"The last was {last.stage}, on {_at(last.ended)}.")]


def _missing(step: str) -> Finding:
    told = f"Stage {step} has never come to its end here: run `vizrec {step}`."
    return Finding(BAD, f"Stage {step}", told)


def _late(run: Ran, need: Ran) -> bool:
    return need.ended - run.ended > (MODEL_AGE if run.stage == "promote" else timedelta(0))


def _overtaken(step: str, need: Ran) -> Finding:
    told = f"Stage {need.stage} has ended after {step}, which knows nothing of it yet: run `vizrec {step}`."
    return Finding(LOOK, f"Stage {step}", told)


def _old(latest: Mapping[str, Ran], now: datetime, fresh: timedelta) -> list[Finding]:
    ended = [latest[step].ended for step in TOGETHER if step in latest]
    if not ended or now - max(ended) <= fresh:
        return []
    hours = fresh.total_seconds() / 3600
    told = f"Nothing has come to its end in the last {hours:g} hours; a run that failed since has left no record."
    return [Finding(LOOK, "Age", told, f"The last end was on {_at(max(ended))}.")]


def _several(latest: Mapping[str, Ran]) -> list[Finding]:
    here = [latest[step] for step in TOGETHER if step in latest]
    if len({run.run_id for run in here}) < 2:
        return []
    told = (
        f"Stages {', '.join(run.stage for run in here)} are not of one run: one was run alone, or has failed in the "
        "newest run and left no record there."
    )
    return [Finding(LOOK, "Runs", told, "; ".join(f"{run.stage}: `{run.run_id}`" for run in here) + ".")]


def _held(latest: Mapping[str, Ran]) -> list[Finding]:
    last = max((latest[job] for job in GATED if job in latest), key=lambda run: run.ended, default=None)
    if last is None or last.outcome != "held":
        return []
    told = "The gate held the candidate back, so it was not promoted."
    return [Finding(LOOK, f"Stage {last.stage}", told, f"That was on {_at(last.ended)}.")]


def _at(when: datetime) -> str:
    return f"{when.day} {when:%b %Y} at {when:%H:%M} UTC"


def refused_finding(latest: Mapping[str, Ran], in_quarantine: int | None = None) -> Finding | None:
    """How much of the input was refused, by the source of which most was; `in_quarantine`: records there that stage
    `ingest` has refused, which writes them first and its record last."""
    if "ingest" not in latest:
        return None
    end, figures = "_refused_share", latest["ingest"].metrics
    shares = {k.removesuffix(end): v for k, v in figures.items() if k.endswith(end)}
    if not shares:
        return None
    counts = [figures.get(f"{source}_refused") for source in shares]
    if in_quarantine is not None and None not in counts and in_quarantine != sum(filter(None, counts)):
        return Finding(
            BAD,
            "Input",
            f"A later ingest has refused {in_quarantine:,} records and published nothing: too many were refused, it "
            "failed, or it still runs. The reasons stand below; all else is of the run before.",
        )
    source = max(shares, key=lambda name: shares[name])
    if shares[source] == 0:
        return Finding(GOOD, "Input", "Every record was accepted.")
    level = BAD if shares[source] > REFUSED_BAD else LOOK if shares[source] > REFUSED_LOOK else GOOD
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


def recall_finding(quality: Row | None, target: float) -> Finding:
    """Whether the search finds as many look-alikes as was asked for; `quality`: the row of table
    `similarity_quality`, which stands whether the last run has searched or found nothing new."""
    if quality is None:
        told = "Recall is not measured: there are no look-alikes of the configured encoder."
        return Finding(LOOK, "Search", told)
    if quality.method == "exact":
        return Finding(GOOD, "Search", "All pairs were compared, so no look-alike is missed.")
    if not quality.n_queries:
        return Finding(LOOK, "Search", "Recall is not measured: no item was left to measure it on.")
    level, told = (GOOD, "at least") if quality.recall >= target else (BAD, "less than")
    return Finding(
        level,
        "Search",
        f"The search finds {quality.recall:.1%} of the nearest look-alikes, {told} the {target:.0%} asked for.",
    )


def drift_findings(moved: Sequence[Moved]) -> list[Finding]:
    """What has moved further than it may, each in a sentence; one sentence where nothing has."""
    found = [Finding(m.level, m.name, m.sentence) for m in moved if m.level != GOOD]
    if found or not moved:
        return found
    return [Finding(GOOD, "Drift", "Rows, sources and likeness are close to those of the run before.")]
