"""The search over the settings of ALS, on an objective that one can see through."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest

from vizrec_spark.als.tuning.search import search
from vizrec_spark.config.models import AlsConfig, TuneConfig
from vizrec_spark.config.models.als import settings_of, with_settings
from vizrec_spark.errors import ConfigError
from vizrec_spark.kernels.trials import Budget, Report, Settings, Tried, best, require_optuna, stale
from vizrec_spark.kernels.trials import search as trial_search

ALS = AlsConfig(rank=8, regularization=0.5, alpha=200.0)
TUNE = TuneConfig(trials=14, patience=14, ranks=(16, 64))


def objective(settings: Settings) -> float:
    """Best at rank 64, regularization 0.01 and a half-life of 30 days."""
    recency = settings.get("half_life_days")
    value = 0.5 * (settings["rank"] == 64)
    value -= abs(math.log10(settings["regularization"] / 0.01)) / 10
    return value - (0.2 if recency is None else abs(math.log10(recency / 30)) / 10)


def run(als: AlsConfig = ALS, tune: TuneConfig = TUNE, earlier: tuple[Tried, ...] = ()) -> list[Tried]:
    told: list[tuple[int, Tried]] = []
    tried = search(objective, als, tune, earlier, lambda number, trial: told.append((number, trial)))
    assert told == list(enumerate(tried))[len(earlier) :]
    return tried


@pytest.fixture(scope="module")
def tried() -> list[Tried]:
    return run()


def test_the_configured_settings_come_first_though_they_lie_outside_the_spans(tried: list[Tried]) -> None:
    assert tried[0].settings == {"rank": 8, "regularization": 0.5, "alpha": 200.0}
    recent = run(ALS.model_copy(update={"half_life_days": 1000.0}), TUNE.model_copy(update={"trials": 2}))
    assert recent[0].settings["half_life_days"] == 1000.0


def test_every_trial_stays_in_the_space_and_the_best_is_better(tried: list[Tried]) -> None:
    assert len(tried) == 14
    for settings, value, *_ in tried:
        assert value == objective(settings)
        assert settings["rank"] in (8, 16, 64)
        assert 0.001 <= settings["regularization"] <= 1.0
        assert 0.5 <= settings["alpha"] <= 200.0
        assert 3.0 <= settings.get("half_life_days", 3.0) <= 365.0
    assert {"half_life_days" in settings for settings, *_ in tried} == {True, False}
    assert tried[best(tried)].value > tried[0].value + 0.3


@pytest.mark.parametrize("done", [1, 5, 13])
def test_an_interrupted_search_goes_on_as_if_nothing_had_happened(tried: list[Tried], done: int) -> None:
    assert run(earlier=tuple(tried[:done])) == tried
    assert run(earlier=tuple(tried)) == tried


def test_it_stops_when_nothing_gets_better() -> None:
    flat = search(lambda settings: 0.25, ALS, TUNE.model_copy(update={"patience": 3}), (), lambda n, t: None)
    assert len(flat) == 4
    assert stale([1.0, 0.5, 0.5], 2) and not stale([0.5, 0.2, 1.0], 2) and not stale([1.0, 0.5], 2)


def test_the_earlier_of_equals_is_the_best() -> None:
    assert best([Tried({}, 0.1), Tried({}, 0.3), Tried({}, 0.3)]) == 1


def test_explicit_models_have_no_alpha_and_no_half_life() -> None:
    explicit = run(AlsConfig(preference="explicit"), TUNE.model_copy(update={"trials": 3}))
    assert {name for settings, *_ in explicit for name in settings} == {"rank", "regularization"}


def test_settings_of_a_trial_reach_the_configuration() -> None:
    als = with_settings(ALS.model_copy(update={"half_life_days": 7.0}), {"rank": 16.0, "alpha": 2.0})
    assert (als.rank, als.alpha, als.half_life_days, als.regularization) == (16, 2.0, None, 0.5)


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"vizrec-spark\[tune\]"):
        run()


@pytest.mark.parametrize(
    "als",
    [
        AlsConfig(rank=3, regularization=0.2, alpha=9.0, half_life_days=12.0),
        AlsConfig(rank=3, regularization=0.2, alpha=9.0),
        AlsConfig(preference="explicit", rank=3, regularization=0.2),
    ],
)
def test_settings_that_were_kept_make_the_same_model_whatever_is_configured(als: AlsConfig) -> None:
    other = AlsConfig(preference=als.preference, rank=5, regularization=0.7, half_life_days=30.0)
    again = with_settings(other, settings_of(als))
    assert settings_of(again) == settings_of(als) and again.half_life_days == als.half_life_days


class Line:
    """Numbers from 0 to 1."""

    def __init__(self) -> None:
        self.configured: Settings = {"x": 0.9}

    def draw(self, trial: Any) -> Settings:
        return {"x": trial.suggest_float("x", 0.0, 1.0)}

    def parameters(self, settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
        return dict(settings), {"x": require_optuna().distributions.FloatDistribution(0.0, 1.0)}


def pruned_search(earlier: tuple[Tried, ...] = (), trials: int = 12) -> list[Tried]:
    def objective(settings: Settings, report: Report) -> float:
        losses = [abs(settings["x"] - 0.3) + 1 / epoch for epoch in range(1, 5)]
        for loss in losses:
            report(loss)
        return min(losses)

    pruner = require_optuna().pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=1)
    return trial_search(
        objective, Line(), Budget(trials, trials, 5), earlier, lambda *_: None, minimize=True, pruner=pruner
    )


def test_trials_that_promise_little_are_stopped_and_the_search_goes_on_as_if_uninterrupted() -> None:
    tried = pruned_search()
    stopped = [trial for trial in tried if trial.pruned]
    assert stopped and all(1 <= len(trial.epochs) < 4 for trial in stopped)
    assert not tried[0].pruned and tried[0].settings == Line().configured
    chosen = tried[best(tried, minimize=True)]
    assert not chosen.pruned and chosen.value == min(trial.value for trial in tried if not trial.pruned)
    assert abs(chosen.settings["x"] - 0.3) < 0.2
    for done in (1, 4, 9):
        assert pruned_search(tuple(tried[:done])) == tried
    assert best([Tried({}, 0.1, pruned=True), Tried({}, 0.5)], minimize=True) == 1
