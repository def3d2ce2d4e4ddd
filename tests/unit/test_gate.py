"""The gate, rule by rule."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vizrec_spark.evaluate.gate import Decision, Measured, Rules, decide


def candidate(**changes: Any) -> Measured:
    measured = {
        "model": "new",
        "metric": "ndcg@10",
        "value": 0.20,
        "lo": 0.18,
        "hi": 0.22,
        "n_users": 500,
        "current": "old",
        "difference": 0.01,
        "difference_lo": 0.004,
        "difference_hi": 0.016,
    }
    return Measured(**{**measured, **changes})


ALONE = {"current": None, "difference": None, "difference_lo": None, "difference_hi": None}


@pytest.mark.parametrize(
    ("changes", "rules", "reason", "promoted"),
    [
        ({}, Rules(), "better", True),
        ({"difference_lo": -0.001}, Rules(), "may_be_worse", False),
        ({"difference_lo": -0.001}, Rules(tolerance=0.001), "not_worse", True),
        ({"difference_lo": -0.0011}, Rules(tolerance=0.001), "may_be_worse", False),
        ({"difference_lo": 0.0, "difference_hi": 0.0, "difference": 0.0}, Rules(), "not_worse", True),
        ({}, Rules(minimum=0.201), "beyond_minimum", False),
        ({}, Rules(minimum=0.20), "better", True),
        (ALONE, Rules(), "no_current_model", True),
        (ALONE, Rules(minimum=0.3), "beyond_minimum", False),
        ({"n_users": 29}, Rules(), "too_few_users", False),
        ({"n_users": 30}, Rules(), "better", True),
        ({"value": float("nan")}, Rules(), "not_measured", False),
        ({"difference_lo": float("nan")}, Rules(), "may_be_worse", False),
        # Less is better here: the same difference is a loss.
        ({"metric": "miscalibration@10"}, Rules(), "may_be_worse", False),
        (
            {"metric": "miscalibration@10", "difference_lo": -0.02, "difference_hi": -0.01},
            Rules(),
            "better",
            True,
        ),
        ({"metric": "gini@10"} | ALONE, Rules(minimum=0.1), "beyond_minimum", False),
        ({"metric": "gini@10"} | ALONE, Rules(minimum=0.3), "no_current_model", True),
    ],
)
def test_rules(changes: dict[str, Any], rules: Rules, reason: str, promoted: bool) -> None:
    decision = decide(candidate(**changes), rules)
    assert (decision.reason, decision.promoted) == (reason, promoted)


def test_the_sentence_has_the_figures() -> None:
    told = decide(candidate(difference_lo=-0.002), Rules(tolerance=0.001)).sentence
    for figure in (
        "Hold",
        "new",
        "ndcg@10 0.2000 [0.1800, 0.2200]",
        "500 users",
        "old",
        "+0.0100 [-0.0020, +0.0160]",
        "0.0010",
    ):
        assert figure in told


def test_a_machine_reads_the_same() -> None:
    decision = decide(candidate(), Rules(minimum=0.1))
    read = json.loads(decision.to_json())
    again = Decision(**{**read, "measured": Measured(**read["measured"]), "rules": Rules(**read["rules"])})
    assert again == decision and read["verdict"] == "promote"


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ValueError, match="tolerance"):
        Rules(tolerance=-0.1)
    with pytest.raises(ValueError, match="no difference of new to the current model old"):
        decide(candidate(difference=None), Rules())
