"""Section `evaluate`: combinations that cannot be meant are refused with the keys' names."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from vizrec_spark.config.models import EvaluateConfig, evaluate
from vizrec_spark.evaluate import metrics, per_user

ALONE = {"candidate": "recommendations", "minimum": 0.1}
PAIR = {"models": {"a": "x", "b": "y"}}
BOTH = {"candidate": "b", "current": "a"}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"test_share": 0.0}, "test_share"),
        ({"test_share": 0.6, "validation_share": 0.4}, "leave room for training"),
        ({"cold_share": 1.0}, "cold_share"),
        ({"test_from": "2024-01-01"}, "both of `validation_from`"),
        ({"validation_from": "2024-02-01", "test_from": "2024-01-01"}, "must not lie behind"),
        (
            {"validation_from": "2024-01-01T01:00:00", "test_from": "2024-01-01T02:00:00+02:00"},
            "must not lie behind",
        ),
        ({"cutoffs": (10, 10)}, "cutoffs"),
        ({"cutoffs": (10, 2000)}, "at most `depth`"),
        ({"reference": "als"}, "does not have als"),
        ({"models": {"a": "x"}, "gate": {"candidate": "b", "current": "a"}}, "does not have b"),
        ({"gate": {"current": "recommendations"}}, "needs a `candidate`"),
        ({"gate": {"candidate": "recommendations", "current": "recommendations"}}, "another model"),
        ({"gate": {"candidate": "recommendations"}}, "to be held against"),
        ({"gate": {**ALONE, "metric": "ndcg@7"}}, "ndcg@7 is not measured"),
        ({"gate": {**ALONE, "metric": "ndgc@10"}}, "there are recall@10, recall@20"),
        ({"gate": {**ALONE, "slice": "everywhere"}}, "`slice` must be one of all"),
        ({"gate": {**ALONE, "slice": "cold_items", "metric": "auc"}}, "not measured in slice cold_items"),
        ({"gate": {**ALONE, "slice": "new_users", "metric": "gini@10"}}, "not measured in slice new_users"),
        ({**PAIR, "gate": {**BOTH, "metric": "coverage@10"}}, "coverage@10 is not compared"),
        ({**PAIR, "reference": "b", "gate": BOTH}, "`reference` must be `gate.current`"),
    ],
)
def test_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        EvaluateConfig.model_validate(given)


@pytest.mark.parametrize(
    "gate",
    [
        {"metric": "auc"},
        {"metric": "gini@20"},
        {"slice": "cold_items"},
        {"slice": "light_users", "metric": "novelty@20"},
    ],
)
def test_the_gate_may_ask_for_whatever_is_measured(gate: dict[str, Any]) -> None:
    assert EvaluateConfig.model_validate({"gate": {**ALONE, **gate}}).gate.candidate == "recommendations"


def test_the_configuration_knows_every_metric_and_slice() -> None:
    assert list(metrics.RANKING) == list(evaluate.RANKING)
    assert list(metrics.BEYOND_ACCURACY) == list(evaluate.OF_LISTS)
    assert list(per_user.ITEM_SLICES) == list(evaluate.ITEM_SLICES)
    assert list(evaluate.USER_SLICES) == [per_user.ALL, per_user.LIGHT, per_user.HEAVY, per_user.NEW]


def test_the_models_that_are_named_are_taken() -> None:
    config = EvaluateConfig.model_validate(
        {"models": {"a": "x", "b": "y"}, "reference": "a", "gate": {"candidate": "b", "current": "a"}}
    )
    assert config.gate.candidate == "b"
