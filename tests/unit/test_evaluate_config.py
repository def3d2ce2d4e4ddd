"""Section `evaluate`: combinations that cannot be meant are refused with the keys' names."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from vizrec_spark.config.models import EvaluateConfig


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
    ],
)
def test_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        EvaluateConfig.model_validate(given)


def test_the_models_that_are_named_are_taken() -> None:
    config = EvaluateConfig.model_validate(
        {"models": {"a": "x", "b": "y"}, "reference": "a", "gate": {"candidate": "b", "current": "a"}}
    )
    assert config.gate.candidate == "b"
