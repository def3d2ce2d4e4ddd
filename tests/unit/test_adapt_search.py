"""The space that settings of head and fine-tuning are searched in, and how a trial's numbers become a section."""

from __future__ import annotations

from typing import Any

import pytest

from vizrec_spark.adapt.search import _Space, values_of, with_values
from vizrec_spark.config.models import AdaptConfig, FineTuneConfig, HeadConfig, ShareSpanConfig, SpanConfig
from vizrec_spark.kernels.trials import Budget, Report, Settings, Tried, search

SEARCH = AdaptConfig().search
HEAD = {name: getattr(SEARCH.head, name) for name in type(SEARCH.head).model_fields if name != "widths"}
FINE_TUNE = {name: getattr(SEARCH.fine_tune, name) for name in type(SEARCH.fine_tune).model_fields}


@pytest.mark.parametrize("layers", [(), (512,), (300,)])
def test_settings_of_the_head_come_and_go_as_numbers(layers: tuple[int, ...]) -> None:
    head = HeadConfig(layers=layers, dropout=0.25)
    values = values_of(head, {**HEAD, "width": SEARCH.head.widths})
    assert values["width"] == (layers[0] if layers else 0) and values["dropout"] == 0.25
    assert with_values(head, values) == head
    other = with_values(head, {**values, "width": 64.0, "mixup": 0.0})
    assert (other.layers, other.mixup, other.epochs) == ((64,), 0.0, head.epochs)


def test_settings_of_fine_tuning_keep_what_is_not_searched() -> None:
    section = FineTuneConfig(blocks=3, epochs=2)
    changed = with_values(section, {"blocks": 2.0, "learning_rate": 0.5})
    assert changed == section.model_copy(update={"blocks": 2, "learning_rate": 0.5})


def test_what_is_configured_lies_in_the_space_wherever_it_is() -> None:
    head = HeadConfig(layers=(48,), learning_rate=0.5, dropout=0.9)
    ranges: dict[str, Any] = {**HEAD, "width": (0, 64)}
    space = _Space(head, ranges)
    assert space.known["width"].choices == (0, 48, 64)
    assert space.known["learning_rate"].high == 0.5 and space.known["dropout"].high == 0.9
    parameters, known = space.parameters(space.configured)
    assert all(
        known[name]._contains(known[name].to_internal_repr(value)) for name, value in parameters.items()
    )


def test_a_weight_decay_of_none_is_not_searched() -> None:
    space = _Space(HeadConfig(weight_decay=0.0), HEAD)
    assert "weight_decay" not in space.known and "weight_decay" not in space.configured


def test_trials_stay_in_the_space() -> None:
    section = FineTuneConfig()

    def objective(settings: Settings, _: Report) -> float:
        tried = with_values(section, settings)  # refused where it cannot be meant
        return abs(tried.blocks - 4) + tried.dropout

    found: list[Tried] = search(
        objective, _Space(section, FINE_TUNE), Budget(10, 10, 1), (), lambda *_: None, minimize=True
    )
    assert {int(t.settings["blocks"]) for t in found} <= {1, 2, 4}
    assert all(0.00002 <= t.settings["learning_rate"] <= 0.001 for t in found)
    assert min(t.value for t in found) < found[0].value


def test_a_range_has_its_ends_in_order() -> None:
    for make in (lambda: SpanConfig(low=2.0, high=1.0), lambda: ShareSpanConfig(low=0.5, high=0.4)):
        with pytest.raises(ValueError, match="low must not be above high"):
            make()
