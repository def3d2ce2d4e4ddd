"""How good each model is: the last evaluation with its intervals, differences and slices, and those before it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import hypot

from pyspark.sql import Row
from pyspark.sql import functions as F

from vizrec_spark.report.facts import moment
from vizrec_spark.report.model import Answer, Chart
from vizrec_spark.report.plots import Mark, grouped, intervals, over_time
from vizrec_spark.stage import StageContext
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.schemas import METRICS, RUNS

EVALUATIONS = 8
"""Evaluations that are read, the last ones."""

QUESTION = "Is the model better than the one before?"

# Metrics that are drawn, where they were measured, by what stands before the @.
_DRAWN = ("ndcg", "recall", "hit_rate", "coverage", "novelty", "diversity")
_COMPARED = ("ndcg", "recall", "hit_rate", "map", "mrr")
_NAMES = {"ndcg": "nDCG", "map": "MAP", "mrr": "MRR", "auc": "AUC"}
_ABLATION = re.compile(r"(^|[ _-])without[ _-]")
_WEEK = 6 * 86_400


@dataclass(frozen=True)
class Evaluation:
    """One run of stage `evaluate`: when it ended (UTC), and its rows of table `metrics`."""

    run_id: str
    ended: datetime
    rows: tuple[Row, ...]

    @property
    def models(self) -> list[str]:
        """In order of their names, parts taken away last."""
        return sorted({row.model for row in self.rows}, key=lambda m: (is_ablation(m), m))

    def find(self, model: str, metric: str, of: str = "all") -> Row | None:
        """The row of a model, metric and slice."""
        return next((r for r in self.rows if (r.model, r.metric, r.slice) == (model, metric, of)), None)


NOTHING = Answer(
    QUESTION,
    "unknown",
    "Not measured",
    "No evaluation stands in table metrics: run `vizrec holdout`, then `vizrec evaluate` (docs/evaluation.md).",
)


@dataclass(frozen=True)
class Quality:
    """Section `quality`; `protocol` and `evaluations` (newest first) are those that the charts show."""

    protocol: str | None = None
    evaluations: tuple[Evaluation, ...] = ()
    charts: tuple[Chart, ...] = ()
    answer: Answer = NOTHING

    anchor = "quality"
    label = "Quality"
    template = "quality.html.j2"


@dataclass(frozen=True)
class QualityRows:
    """Rows of table `metrics`, and by run the second since 1970 at which it ended."""

    metrics: Sequence[Row] = ()
    ended: Mapping[str, float] = field(default_factory=dict)


def read_quality(context: StageContext) -> Quality:
    """The section; runs two small jobs."""
    found = read_quality_rows(context.tables)
    return show_quality(found.metrics, found.ended, context.config.evaluate.gate.candidate)


def read_quality_rows(tables: TableStore) -> QualityRows:
    """The rows of the last `EVALUATIONS` evaluations."""
    runs = tables.read_or_empty(RUNS).where("stage = 'evaluate'")
    last = runs.select("run_id", F.col("finished_at").cast("double").alias("at")).orderBy(F.desc("at"))
    ended = {row.run_id: row.at for row in reversed(last.limit(EVALUATIONS).collect())}
    if not ended:
        return QualityRows()
    of_these = F.col("run_id").isin(*ended)
    return QualityRows(tables.read_or_empty(METRICS).where(of_these).collect(), ended)


def show_quality(rows: Sequence[Row], ended: Mapping[str, float], candidate: str | None = None) -> Quality:
    """The section of rows of table `metrics`; `ended`: seconds since 1970 at which each run ended.

    The protocol is that of the newest run that has rows; runs of others are left out. `candidate`: the model that the
    answer is about, where one is configured.
    """
    newest = max((row.run_id for row in rows), key=lambda run: ended[run], default=None)
    if newest is None:
        return Quality()
    protocol = min(row.protocol for row in rows if row.run_id == newest)
    mine = [row for row in rows if row.protocol == protocol]
    evaluations = []
    for run in sorted({row.run_id for row in mine}, key=lambda run: -ended[run]):
        at = moment(ended[run])
        if at is not None:
            evaluations.append(Evaluation(run, at, tuple(row for row in mine if row.run_id == run)))
    now = evaluations[0]
    drawn, headline = _metrics(now, _DRAWN), next(iter(_metrics(now, _COMPARED)), None)
    charts = [_values(now, metric) for metric in drawn[:4]]
    if headline is not None:
        charts += [_differences(now, metric) for metric in _metrics(now, _COMPARED)[:2]]
        charts += [_ablation(now, headline), _slices(now, headline), _history(evaluations, headline)]
    whole = tuple(chart for chart in charts if chart is not None)
    return Quality(protocol, tuple(evaluations), whole, _answer(evaluations, headline, candidate))


def is_ablation(model: str) -> bool:
    """Whether the name says that a part was taken away, as in `hybrid_without_visual`."""
    return _ABLATION.search(model) is not None


def metric_name(metric: str) -> str:
    """``nDCG@10`` for ``ndcg@10``."""
    name, at, k = metric.partition("@")
    return _NAMES.get(name, name.replace("_", " ").capitalize()) + at + k


def _metrics(now: Evaluation, wanted: Iterable[str]) -> list[str]:
    """One metric of each name, at 10 or the shortest list."""
    there = sorted({row.metric for row in now.rows if row.slice == "all"}, key=_length)
    first = {name: next((m for m in there if m.partition("@")[0] == name), None) for name in wanted}
    return [metric for metric in first.values() if metric is not None]


def _length(metric: str) -> tuple[bool, int]:
    k = metric.partition("@")[2]
    return k != "10", int(k) if k.isdecimal() else 0


def _values(now: Evaluation, metric: str) -> Chart | None:
    rows = [r for m in now.models if not is_ablation(m) and (r := now.find(m, metric)) is not None]
    if not rows:
        return None
    marks = [Mark(r.model, r.value, r.lo, r.hi, now.models.index(r.model)) for r in rows]
    text = (
        "The mark is the mean over users, the bar its 95 % interval."
        if rows[0].lo is not None
        else "Of all lists together."
    )
    return Chart(
        metric_name(metric),
        text,
        intervals(_id("value", metric), marks),
        ("Model", "Value", "95 % interval", "Users"),
        tuple((r.model, f"{r.value:.4f}", _between(r.lo, r.hi), f"{r.n_users:,}") for r in rows),
    )


def _differences(now: Evaluation, metric: str) -> Chart | None:
    rows = [
        r
        for m in now.models
        if not is_ablation(m) and (r := now.find(m, metric)) and r.difference is not None
    ]
    return _difference_chart(now, rows, metric, "difference", "") if rows else None


def _ablation(now: Evaluation, metric: str) -> Chart | None:
    rows = [
        r for m in now.models if is_ablation(m) and (r := now.find(m, metric)) and r.difference is not None
    ]
    return _difference_chart(now, rows, metric, "ablation", "without a part, ") if rows else None


def _difference_chart(now: Evaluation, rows: Sequence[Row], metric: str, kind: str, what: str) -> Chart:
    reference, place = rows[0].reference, now.models.index  # a model has its shape in every plot
    marks = [Mark(r.model, r.difference, r.difference_lo, r.difference_hi, place(r.model)) for r in rows]
    return Chart(
        f"{metric_name(metric)}, {what}less {reference}",
        "The same users, paired. An interval on one side of the dashed line is a clear difference.",
        intervals(_id(kind, metric), marks, line=0.0, digits=4),
        ("Model", "Difference", "95 % interval", "p", "Users"),
        tuple(
            (
                r.model,
                f"{r.difference:+.4f}",
                _between(r.difference_lo, r.difference_hi, "+"),
                "–" if r.p_value is None else f"{r.p_value:.4f}",
                f"{r.n_both or 0:,}",
            )
            for r in rows
        ),
    )


def _slices(now: Evaluation, metric: str) -> Chart | None:
    models = [m for m in now.models if not is_ablation(m)][:4]
    slices = sorted({r.slice for r in now.rows if r.metric == metric and r.slice != "all"})
    found = {
        s: [(i, r) for i, m in enumerate(models) if (r := now.find(m, metric, s)) is not None] for s in slices
    }
    if not any(found.values()):
        return None
    groups = [
        (s.replace("_", " "), [Mark(r.model, r.value, r.lo, r.hi, i) for i, r in rows])
        for s, rows in found.items()
    ]
    return Chart(
        f"{metric_name(metric)} by segment",
        "Who is served well and who is not: kinds of users, and kinds of items that were to be found.",
        grouped(_id("slices", metric), groups, models),
        ("Segment", "Model", "Value", "95 % interval", "Users"),
        tuple(
            (s.replace("_", " "), r.model, f"{r.value:.4f}", _between(r.lo, r.hi), f"{r.n_users:,}")
            for s, rows in found.items()
            for _, r in rows
        ),
    )


def _history(evaluations: Sequence[Evaluation], metric: str) -> Chart | None:
    if len(evaluations) < 2:
        return None
    old_first = list(reversed(evaluations))
    models = [m for m in evaluations[0].models if not is_ablation(m)][:4]
    lines = []
    for model in models:
        rows = [one.find(model, metric) for one in old_first]
        lines.append((model, [None if r is None else Mark(model, r.value, r.lo, r.hi) for r in rows]))
    dates = [f"{one.ended.day} {one.ended:%b}" for one in old_first]
    table = tuple(
        (f"{one.ended:%Y-%m-%d %H:%M}", model, f"{r.value:.4f}", _between(r.lo, r.hi))
        for one in evaluations
        for model in models
        if (r := one.find(model, metric)) is not None
    )
    return Chart(
        f"{metric_name(metric)} over the last {len(evaluations)} evaluations",
        "Each on the split of its day: the users and what was to be found differ from point to point.",
        over_time(_id("history", metric), dates, lines),
        ("Evaluated", "Model", "Value", "95 % interval"),
        table,
    )


def _answer(evaluations: Sequence[Evaluation], metric: str | None, candidate: str | None) -> Answer:
    now = evaluations[0]
    if metric is None:
        return Answer(QUESTION, "unknown", "Not measured", "The last evaluation has no ranking metric.")
    named = metric_name(metric)
    paired = [
        r
        for m in now.models
        if not is_ablation(m) and (r := now.find(m, metric)) and r.difference is not None
    ]
    if paired:
        return _paired_answer(now, named, paired, candidate)
    before = _week_before(evaluations)
    model = max(
        (r for m in now.models if (r := now.find(m, metric)) is not None), key=lambda r: r.value
    ).model
    ours, theirs = now.find(model, metric), before.find(model, metric) if before is not None else None
    if ours is None or theirs is None or before is None:
        told = f"{model} has {named} {ours.value:.3f}" if ours is not None else "There is nothing"
        more = "another model with `evaluate.reference`, or the next evaluation, gives something to compare with."
        return Answer(QUESTION, "unknown", "Cannot be told yet", f"{told} in the only evaluation; {more}")
    difference = ours.value - theirs.value
    told = f"{model} has {named} {ours.value:.3f} now and {theirs.value:.3f} on {before.ended:%d %b %Y}"
    if None in (ours.lo, ours.hi, theirs.lo, theirs.hi):
        return Answer(QUESTION, "unknown", "Cannot be told", f"{told}; without intervals that says little.")
    half = hypot(ours.hi - ours.lo, theirs.hi - theirs.lo) / 2
    level, word = _judged(difference - half, difference + half)
    between = _between(difference - half, difference + half, "+")
    return Answer(QUESTION, level, word, f"{told}: {difference:+.4f} {between}, the users not paired.")


def _paired_answer(now: Evaluation, named: str, paired: Sequence[Row], candidate: str | None) -> Answer:
    """The candidate of the gate against the reference; where none is configured, whichever is ahead."""
    asked = next((r for r in paired if r.model == candidate), None)
    best = asked or max(paired, key=lambda r: r.value)
    ours, theirs = best.model, best.reference
    difference, lo, hi = best.difference, best.difference_lo, best.difference_hi
    if asked is None and difference < 0:
        ours, theirs, difference = theirs, ours, -difference
        lo, hi = (None if end is None else -end for end in (hi, lo))
    level, word = _judged(lo, hi)
    told = (
        f"{ours} less {theirs}: {named} {difference:+.4f} {_between(lo, hi, '+')} over the same users, measured on "
        f"{now.ended.day} {now.ended:%b %Y}."
    )
    return Answer(QUESTION, level, word, told)


def _week_before(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """The newest evaluation that is a week older than the last; the one before it where none is."""
    now, *earlier = evaluations
    week = [one for one in earlier if (now.ended - one.ended).total_seconds() >= _WEEK]
    return next(iter(week or earlier), None)


def _judged(lo: float | None, hi: float | None) -> tuple[str, str]:
    if lo is not None and lo > 0:
        return "good", "Better"
    if hi is not None and hi < 0:
        return "bad", "Worse"
    return "look", "No clear difference"


def _between(lo: float | None, hi: float | None, sign: str = "") -> str:
    return "–" if lo is None or hi is None else f"[{lo:{sign}.4f}, {hi:{sign}.4f}]"


def _id(kind: str, metric: str) -> str:
    return f"{kind}-{re.sub(r'[^a-z0-9]+', '-', metric.lower())}"
