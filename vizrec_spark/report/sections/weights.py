"""What the score is made of: the learned weight of each feature, and how each ranks alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Row

from vizrec_spark.report.model import Answer, Chart
from vizrec_spark.report.plots import Mark, between, intervals
from vizrec_spark.stage import StageContext
from vizrec_spark.tables.schemas import BLEND_WEIGHTS

_METHODS = {
    "learned": "The weights were learned on a window of the latest interactions",
    "single": "On the window of the latest interactions one feature alone ranked best, and it is used alone",
    "configured": "Nothing was learned, for that is switched off or there was too little to learn from: the weights "
    "are those of the configuration",
}


@dataclass(frozen=True)
class Weights:
    """Section `weights`."""

    told: str = ""
    charts: tuple[Chart, ...] = ()
    answer: Answer | None = None

    anchor = "weights"
    label = "Weights"
    template = "weights.html.j2"


def read_weights(context: StageContext) -> Weights:
    """The section; the table has a row a feature."""
    rows = context.tables.read_or_empty(BLEND_WEIGHTS).collect()
    return show_weights(rows) if rows else Weights()


def show_weights(rows: Sequence[Row]) -> Weights:
    """The section of rows of table `blend_weights`, at least one."""
    ordered = sorted(rows, key=lambda r: (-abs(r.weight), r.feature))
    parts = sorted({r.part for r in rows})
    told = _METHODS[rows[0].method]
    best = max((r for r in rows if r.ndcg10_alone is not None), key=lambda r: r.ndcg10_alone, default=None)
    if best is not None and best.blend_difference is not None:
        told += (
            f". There the blend has nDCG@10 {best.ndcg10_alone + best.blend_difference:.4f}, its best feature alone "
            f"({_words(best.feature)}) {best.ndcg10_alone:.4f}"
        )
    if rows[0].method == "learned" and best is not None and rows[0].learned_share < 1:
        told += f". Of the weights {rows[0].learned_share:.0%} is learned, the rest lies on {_words(best.feature)}"
    marks = [
        Mark(f"{_words(r.feature)} · {r.part}", r.weight, r.weight_lo, r.weight_hi, parts.index(r.part))
        for r in ordered
    ]
    charts = [
        Chart(
            "Weight of each feature",
            "Per standard deviation of the feature, with its 95 % interval; 0 says that it adds nothing."
            if rows[0].method == "learned"
            else "On features brought to a like size, not learned, so without intervals; 0 says that it adds nothing.",
            intervals("weights", marks, line=0.0),
            ("Feature", "Part of the score", "Weight", "95 % interval"),
            tuple(
                (_words(r.feature), r.part, f"{r.weight:+.4f}", between(r.weight_lo, r.weight_hi, "+"))
                for r in ordered
            ),
        )
    ]
    alone = sorted((r for r in rows if r.ndcg10_alone is not None), key=lambda r: -r.ndcg10_alone)
    if alone:
        charts.append(
            Chart(
                "How each feature ranks alone",
                "nDCG@10 on the window. A feature may rank badly alone and still add to the others.",
                intervals(
                    "alone",
                    [
                        Mark(
                            f"{_words(r.feature)} · {r.part}", r.ndcg10_alone, None, None, parts.index(r.part)
                        )
                        for r in alone
                    ],
                ),
                ("Feature", "Part of the score", "nDCG@10 alone"),
                tuple((_words(r.feature), r.part, f"{r.ndcg10_alone:.4f}") for r in alone),
            )
        )
    return Weights(told + ".", tuple(charts))


def _words(feature: str) -> str:
    return feature.replace("_", " ")
