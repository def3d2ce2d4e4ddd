"""Plots of evaluations, each with its numbers: values, paired differences, ablation, segments, and how they went."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pyspark.sql import Row

from vizrec_spark.report.model import Chart
from vizrec_spark.report.plots import Mark, between, grouped, intervals, over_time
from vizrec_spark.report.sections.evaluations import RANKING, Evaluation, is_ablation, metric_name

DRAWN = 4
"""Models that one plot of segments or of the past can show apart; its numbers have all."""

# Metrics that are drawn, where they were measured, by what stands before the @.
_SHOWN = ("ndcg", "recall", "hit_rate", "coverage", "novelty", "diversity")


def charts_of(evaluations: Sequence[Evaluation]) -> tuple[Chart, ...]:
    """Those of the newest of `evaluations` (newest first, at least one), and the course of all of them."""
    now = evaluations[0]
    charts = [_values(now, metric) for metric in now.metrics(_SHOWN)[:4]]
    if now.headline is not None:
        charts += [_differences(now, metric) for metric in now.metrics(RANKING)[:2]]
        charts += [
            _ablation(now, now.headline),
            _slices(now, now.headline),
            _history(evaluations, now.headline),
        ]
    return tuple(chart for chart in charts if chart is not None)


def _values(now: Evaluation, metric: str) -> Chart | None:
    rows = [r for m in now.whole if (r := now.find(m, metric)) is not None]
    if not rows:
        return None
    marks = [Mark(r.model, r.value, r.lo, r.hi, now.models.index(r.model)) for r in rows]
    spread = [r.lo is not None for r in rows]
    text = (
        "The mark is the mean over users, the bar its 95 % interval"
        if any(spread)
        else "Of all lists together"
    )
    if any(spread) and not all(spread):
        text += "; a mark without a bar has none"
    return Chart(
        metric_name(metric),
        f"{text}.",
        intervals(_id("value", metric), marks),
        ("Model", "Value", "95 % interval", "Users"),
        tuple((r.model, f"{r.value:.4f}", between(r.lo, r.hi), f"{r.n_users:,}") for r in rows),
    )


def _differences(now: Evaluation, metric: str) -> Chart | None:
    rows = [r for m in now.whole if (r := now.find(m, metric)) and r.difference is not None]
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
                between(r.difference_lo, r.difference_hi, "+"),
                "–" if r.p_value is None else f"{r.p_value:.4f}",
                f"{r.n_both or 0:,}",
            )
            for r in rows
        ),
    )


def _slices(now: Evaluation, metric: str) -> Chart | None:
    models = now.whole
    slices = sorted({r.slice for r in now.rows if r.metric == metric and r.slice != "all"})
    found = {
        s: [(i, r) for i, m in enumerate(models) if (r := now.find(m, metric, s)) is not None] for s in slices
    }
    if not any(found.values()):
        return None
    groups = [
        (s.replace("_", " "), [Mark(r.model, r.value, r.lo, r.hi, i) for i, r in rows if i < DRAWN])
        for s, rows in found.items()
    ]
    return Chart(
        f"{metric_name(metric)} by segment",
        "Who is served well and who is not: kinds of users, and kinds of items that were to be found."
        + _left_out(models),
        grouped(_id("slices", metric), groups, models[:DRAWN]),
        ("Segment", "Model", "Value", "95 % interval", "Users"),
        tuple(
            (s.replace("_", " "), r.model, f"{r.value:.4f}", between(r.lo, r.hi), f"{r.n_users:,}")
            for s, rows in found.items()
            for _, r in rows
        ),
    )


def _history(evaluations: Sequence[Evaluation], metric: str) -> Chart | None:
    if len(evaluations) < 2:
        return None
    old_first = list(reversed(evaluations))
    models = evaluations[0].whole
    lines = []
    for model in models[:DRAWN]:
        rows = [one.find(model, metric) for one in old_first]
        lines.append((model, [None if r is None else Mark(model, r.value, r.lo, r.hi) for r in rows]))
    dates = [f"{one.ended.day} {one.ended:%b}" for one in old_first]
    table = tuple(
        (f"{one.ended:%Y-%m-%d %H:%M}", model, f"{r.value:.4f}", between(r.lo, r.hi))
        for one in evaluations
        for model in models
        if (r := one.find(model, metric)) is not None
    )
    return Chart(
        f"{metric_name(metric)} over the last {len(evaluations)} evaluations",
        "Each on the split of its day: the users and what was to be found differ from point to point."
        + _left_out(models),
        over_time(_id("history", metric), dates, lines),
        ("Evaluated", "Model", "Value", "95 % interval"),
        table,
    )


def _left_out(models: Sequence[str]) -> str:
    rest = len(models) - DRAWN
    return "" if rest <= 0 else f" Drawn are {DRAWN} of {len(models)} models; the numbers have all."


def _id(kind: str, metric: str) -> str:
    return f"{kind}-{re.sub(r'[^a-z0-9]+', '-', metric.lower())}"
