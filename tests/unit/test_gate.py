"""The gate, rule by rule."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from vizrec_spark.evaluate.gate import Decision, Measured, Rules, decide
from vizrec_spark.evaluate.intervals import figures_of, sums_of


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
        # No evidence: the same list for list, and one of 50 users better and the others tied.
        ({"difference_lo": 0.0, "difference_hi": 0.0, "difference": 0.0}, Rules(), "may_be_worse", False),
        ({"difference_lo": 0.0}, Rules(), "may_be_worse", False),
        (
            {"value": 0.0, "difference_lo": 0.0, "difference_hi": 0.0, "difference": 0.0},
            Rules(),
            "may_be_worse",
            False,
        ),
        (
            {"difference_lo": 0.0, "difference_hi": 0.0, "difference": 0.0},
            Rules(tolerance=0.001),
            "not_worse",
            True,
        ),
        ({"n_both": 29}, Rules(), "too_few_users", False),
        ({"n_both": 30}, Rules(), "better", True),
        ({}, Rules(minimum=0.201), "beyond_minimum", False),
        ({}, Rules(minimum=0.20), "better", True),
        (ALONE, Rules(minimum=0.2), "no_current_model", True),
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


def test_one_user_of_fifty_is_no_evidence() -> None:
    values = np.zeros((50, 2, 1))
    values[7, 1] = 1.0
    users = np.random.default_rng(0).integers(0, 2**63, 50, dtype=np.uint64)
    found = figures_of(sums_of(values, users, 0, 1000, 1))
    lo, hi = float(found.difference_lo[1, 0]), float(found.difference_hi[1, 0])
    measured = candidate(n_users=50, value=0.02, difference=0.02, difference_lo=lo, difference_hi=hi)
    assert lo == 0 and found.p_value[1, 0] == 1
    assert not decide(measured, Rules()).promoted


def test_a_machine_reads_the_same() -> None:
    decision = decide(candidate(), Rules(minimum=0.1))
    read = json.loads(decision.to_json())
    again = Decision(**{**read, "measured": Measured(**read["measured"]), "rules": Rules(**read["rules"])})
    assert again == decision and read["verdict"] == "promote"


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ValueError, match="tolerance"):
        Rules(tolerance=-0.1)
    with pytest.raises(ValueError, match="neither a current model nor a minimum"):
        decide(candidate(**ALONE), Rules())
    with pytest.raises(ValueError, match="no difference of new to the current model old"):
        decide(candidate(difference=None), Rules())
