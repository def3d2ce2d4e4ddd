"""What benchmark quality says of the figures: the keys of the result, and the best part with the right sign."""

from __future__ import annotations

import math
from io import StringIO

from pyspark.sql import Row
from rich.console import Console

from benchmarks.quality.figures import Figures


def row(model: str, metric: str, value: float, difference: float | None = None, part: str = "all") -> Row:
    apart = {"difference": difference, "difference_lo": None, "difference_hi": None, "p_value": None}
    if difference is not None:
        apart |= {"difference_lo": difference - 0.02, "difference_hi": difference + 0.01, "p_value": 0.25}
    return Row(
        slice=part,
        model=model,
        metric=metric,
        value=value,
        lo=value - 0.1,
        hi=value + 0.1,
        n_users=50,
        **apart,
    )


MODELS = ["popularity", "als", "hybrid_without_cf", "hybrid"]
ROWS = [
    row("popularity", "ndcg@10", 0.2, -0.2),
    row("als", "ndcg@10", 0.3, -0.1),
    row("hybrid_without_cf", "ndcg@10", 0.5, 0.1),
    row("hybrid", "ndcg@10", 0.4),
    row("als", "recall@20", 0.6, 0.0),
    row("als", "auc", 0.7, 0.0),
    row("als", "coverage@10", 0.8),
]


def test_the_result_has_the_keys_that_are_asked_for() -> None:
    told = Figures(ROWS, MODELS, "hybrid").result()
    assert list(told) == MODELS
    assert {key: told["als"][key] for key in ("ndcg10", "recall20", "auc", "coverage10", "n_users")} == {
        "ndcg10": 0.3,
        "recall20": 0.6,
        "auc": 0.7,
        "coverage10": 0.8,
        "n_users": 50,
    }
    assert (told["als"]["ndcg10_lo"], told["als"]["ndcg10_hi"]) == (0.3 - 0.1, 0.3 + 0.1)
    assert math.isnan(told["hybrid"]["auc"])


def test_the_best_part_is_no_ablation_and_the_difference_is_the_hybrids() -> None:
    told = Figures(ROWS, MODELS, "hybrid").result()["hybrid"]
    assert told["best_part"] == "als"
    assert told["ndcg10_over_best_part"] == 0.1
    assert (
        round(told["ndcg10_over_best_part_lo"], 6) == 0.09
        and round(told["ndcg10_over_best_part_hi"], 6) == 0.12
    )
    assert told["ndcg10_over_best_part_p"] == 0.25


def test_without_the_hybrid_there_is_no_best_part() -> None:
    told = Figures(ROWS, ["popularity", "als"], "popularity").result()
    assert not any(key.endswith("best_part") for own in told.values() for key in own)
    assert "ndcg10_by_seed" not in told["als"]


def test_several_draws_are_told_one_by_one_in_their_order() -> None:
    draws = [
        row(model, "ndcg@10", value + n / 100, part=f"round_{n}")
        for n in (10, 9, 1)
        for model, value in (("als", 0.3), ("hybrid", 0.4))
    ]
    figures = Figures([*ROWS, *draws], MODELS, "hybrid")
    told = figures.result()
    assert told["als"]["ndcg10_by_seed"] == [0.31, 0.39, 0.4]
    assert [round(x, 9) for x in told["hybrid"]["ndcg10_over_best_part_by_seed"]] == [0.1] * 3
    out = StringIO()
    figures.print("cold_items", Console(file=out, width=240))
    assert "0.310 to 0.400" in out.getvalue()


def test_the_table_shows_every_model() -> None:
    out = StringIO()
    Figures(ROWS, MODELS, "hybrid").print("user_time", Console(file=out, width=240))
    for text in (*MODELS, "0.3000", "-0.1000 [-0.1200, -0.0900]", "0.250"):
        assert text in out.getvalue()
