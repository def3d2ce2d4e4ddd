"""The figures of a protocol as a readable table and as the keys of the result."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from pyspark.sql import Row
from rich.console import Console
from rich.table import Table

HYBRID = "hybrid"
_ABLATION = "hybrid_without_"


class Figures:
    """The rows of `measure` by slice, model and metric, with `reference` the model that others are compared with."""

    def __init__(self, rows: Iterable[Row], models: list[str], reference: str) -> None:
        self._rows = {(r.slice, r.model, r.metric): r for r in rows}
        self.models, self.reference = models, reference

    def row(self, model: str, metric: str, part: str = "all") -> Row | None:
        """One figure, or None where it was not measured."""
        return self._rows.get((part, model, metric))

    def best_part(self) -> str | None:
        """Of all models but the hybrid and its ablations, the one of largest nDCG@10, be it a part of the hybrid or
        not; None where the hybrid was not run."""
        if self.reference != HYBRID:
            return None
        parts = [m for m in self.models if m != self.reference and not m.startswith(_ABLATION)]
        return max(parts, key=lambda m: self._value(m, "ndcg@10"), default=None)

    def rounds(self) -> list[str]:
        """The slices of single rounds, in their order; none where there is one round."""
        names = {part for part, *_ in self._rows if part.startswith("round_")}
        return sorted(names, key=lambda name: int(name.removeprefix("round_")))

    def result(self) -> dict[str, dict[str, Any]]:
        """By model: `ndcg10`, `ndcg10_lo`, `ndcg10_hi`, `recall20`, `auc`, `coverage10`, `n_users` (distinct), and with
        several rounds `ndcg10_by_seed`; `ndcg10_warm` and `ndcg10_cold` count the items that people had met, and those
        that nobody had; for the hybrid also the paired difference of its nDCG@10 to that of the best part, in all and
        by seed, and `ndcg10_over`, by model and slice the difference to each with its interval."""
        told: dict[str, dict[str, Any]] = {}
        rounds = self.rounds()
        for model in self.models:
            row = self.row(model, "ndcg@10")
            told[model] = {
                "ndcg10": self._value(model, "ndcg@10"),
                "ndcg10_lo": None if row is None else row.lo,
                "ndcg10_hi": None if row is None else row.hi,
                "recall20": self._value(model, "recall@20"),
                "auc": self._value(model, "auc"),
                "coverage10": self._value(model, "coverage@10"),
                "n_users": None if row is None else row.n_users,
            }
            for kind in ("warm", "cold"):
                if self.row(model, "ndcg@10", f"{kind}_items") is not None:
                    told[model][f"ndcg10_{kind}"] = self._value(model, "ndcg@10", f"{kind}_items")
            if rounds:
                told[model]["ndcg10_by_seed"] = [self._value(model, "ndcg@10", part) for part in rounds]
        if self.reference in told:
            told[self.reference]["ndcg10_over"] = self._differences()
        best = self.best_part()
        if best is not None and (row := self.row(best, "ndcg@10")) is not None and row.difference is not None:
            # Rows hold the other model less the reference.
            told[self.reference] |= {
                "best_part": best,
                "ndcg10_over_best_part": -row.difference,
                "ndcg10_over_best_part_lo": -row.difference_hi,
                "ndcg10_over_best_part_hi": -row.difference_lo,
                "ndcg10_over_best_part_p": row.p_value,
            }
            if rounds:
                told[self.reference]["ndcg10_over_best_part_by_seed"] = [
                    self._value(self.reference, "ndcg@10", part) - self._value(best, "ndcg@10", part)
                    for part in rounds
                ]
        return told

    def _differences(self) -> dict[str, dict[str, list[float]]]:
        """By other model and slice: nDCG@10 of the reference less the model's, and the ends of its interval."""
        found: dict[str, dict[str, list[float]]] = {}
        for (part, model, metric), row in self._rows.items():
            if (
                metric == "ndcg@10"
                and part in ("all", "warm_items", "cold_items")
                and row.difference is not None
            ):
                ends = [-row.difference, -row.difference_hi, -row.difference_lo]
                found.setdefault(model, {})[part] = ends
        return found

    def print(self, title: str, console: Console) -> None:
        """Models as rows; nDCG@10 apart for the slices."""
        parts = ("warm_items", "cold_items", "light_users", "heavy_users")
        shown = [p for p in parts if any(self.row(m, "ndcg@10", p) for m in self.models)]
        table = Table(title=title, title_justify="left")
        columns = [
            "nDCG@10",
            "95 %",
            f"less {self.reference} (paired 95 %)",
            "p",
            "recall@20",
            "MAP@10",
            "MRR@10",
        ]
        rounds = self.rounds()
        columns += ["spread over seeds"] if rounds else []
        columns += ["AUC", "coverage@10", "Gini@10", "novelty@10", "diversity@10", "miscal.@10", *shown]
        table.add_column("model")
        for name in columns:
            table.add_column(name.replace("_", " "), justify="right")
        for model in self.models:
            row = self.row(model, "ndcg@10")
            if row is None:
                continue
            apart, p_value = "", ""
            if row.difference is not None:
                apart = f"{row.difference:+.4f} [{row.difference_lo:+.4f}, {row.difference_hi:+.4f}]"
                p_value = f"{row.p_value:.3f}"
            metrics = (
                "recall@20",
                "map@10",
                "mrr@10",
                "auc",
                "coverage@10",
                "gini@10",
                "novelty@10",
                "diversity@10",
            )
            table.add_row(
                model,
                f"{row.value:.4f}",
                f"{row.lo:.3f} to {row.hi:.3f}",
                apart,
                p_value,
                *(_shown(self._value(model, m)) for m in metrics[:3]),
                *([_spread([self._value(model, "ndcg@10", part) for part in rounds])] if rounds else []),
                *(_shown(self._value(model, m)) for m in (*metrics[3:], "miscalibration@10")),
                *(_shown(self._value(model, "ndcg@10", p)) for p in shown),
            )
        console.print(table)

    def _value(self, model: str, metric: str, part: str = "all") -> float:
        row = self.row(model, metric, part)
        return math.nan if row is None else float(row.value)


def _spread(values: list[float]) -> str:
    return f"{min(values):.3f} to {max(values):.3f}"


def _shown(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"
