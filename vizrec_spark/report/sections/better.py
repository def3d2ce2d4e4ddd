"""Is the model better than the one before: the answer for the head of the page, from the last evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot

from pyspark.sql import Row

from vizrec_spark.config.models import GateConfig
from vizrec_spark.report.model import Answer
from vizrec_spark.report.plots import between
from vizrec_spark.report.sections.evaluations import UNNAMED, Evaluation, metric_name

QUESTION = "Is the model better than the one before?"

_WEEK, _DAY = 7 * 86_400, 86_400

NOTHING = Answer(
    QUESTION,
    "unknown",
    "Not measured",
    "No evaluation stands in table metrics: run `vizrec holdout`, then `vizrec evaluate` (docs/evaluation.md).",
)


def judge(evaluations: Sequence[Evaluation], gate: GateConfig) -> Answer:
    """The gate's candidate against the model that it was measured with, by the metric and in the slice of the gate
    where it is configured, else by the headline; one that the gate held has changed nothing. Where the gate was not
    asked: the main model against itself about a week before. Which of two models of one run is ahead says nothing about
    that."""
    now, *earlier = evaluations
    metric, candidate = now.headline, now.candidate(gate)
    if candidate is not None:
        by = (metric, "all") if gate.candidate is None else (gate.metric, gate.slice)
        asked = None if by[0] is None else now.find(candidate, by[0], by[1])
        if asked is not None and asked.difference is not None:
            return _paired(now, asked)
    if metric is None:
        return Answer(QUESTION, "unknown", "Not measured", "The last evaluation has no ranking metric.")
    return _before(now, earlier, metric)


def _paired(now: Evaluation, row: Row) -> Answer:
    level, word = _judged(row.difference_lo, row.difference_hi)
    of = "" if row.slice == "all" else f" of {row.slice.replace('_', ' ')}"
    told = (
        f"{row.model} less {row.reference}: {metric_name(row.metric)}{of} {row.difference:+.4f} "
        f"{between(row.difference_lo, row.difference_hi, '+')} over the same users, measured on "
        f"{now.ended.day} {now.ended:%b %Y}."
    )
    if now.held:
        level, word = "look", f"{word}, held back"
        told = f"The gate held the candidate back, so it was not promoted. {told}"
    return Answer(QUESTION, level, word, told)


def _before(now: Evaluation, earlier: Sequence[Evaluation], metric: str) -> Answer:
    model, named = now.main, metric_name(metric)
    ours = None if model is None else now.find(model, metric)
    if model is None or ours is None:
        told = "The last evaluation has measured no whole model, only some with a part taken away."
        return Answer(QUESTION, "unknown", "Cannot be told", told)
    having = [(one, row) for one in earlier if (row := one.find(model, metric)) is not None]
    if not having:
        where = "and no earlier one has a model of that name" if earlier else "which is the only one"
        told = f"{_called(model)} has {named} {ours.value:.3f} in the last evaluation, {where}."
        return Answer(QUESTION, "unknown", "Cannot be told yet", told)
    before, theirs = _week_before(now, having)
    difference = ours.value - theirs.value
    then = f"{before.ended.day} {before.ended:%b %Y}"
    told = f"{_called(model)} has {named} {ours.value:.3f} now and {theirs.value:.3f} on {then}"
    if None in (ours.lo, ours.hi, theirs.lo, theirs.hi):
        return Answer(QUESTION, "unknown", "Cannot be told", f"{told}; without intervals that says little.")
    half = hypot(ours.hi - ours.lo, theirs.hi - theirs.lo) / 2
    level, word = _judged(difference - half, difference + half)
    ends = between(difference - half, difference + half, "+")
    weighed = "may be chance" if level == "look" else "is too large for chance"
    told += f". The change, {difference:+.4f} {ends} with users not paired, {weighed}."
    return Answer(QUESTION, level, word, told)


def _called(model: str) -> str:
    return "The hybrid (table `recommendations`)" if model == UNNAMED else f"Model `{model}`"


def _week_before(now: Evaluation, having: Sequence[tuple[Evaluation, Row]]) -> tuple[Evaluation, Row]:
    """Of the evaluations (newest first) that a week lies behind, the newest; the one before the last where none is.

    By whole days: a weekly run does not end at the same minute every week.
    """
    behind = [(round((now.ended - one.ended).total_seconds() / _DAY) * _DAY, one, row) for one, row in having]
    week = [(one, row) for seconds, one, row in behind if seconds >= _WEEK]
    return (week or list(having))[0]


def _judged(lo: float | None, hi: float | None) -> tuple[str, str]:
    if lo is not None and lo > 0:
        return "good", "Better"
    if hi is not None and hi < 0:
        return "bad", "Worse"
    return "look", "No clear difference"
