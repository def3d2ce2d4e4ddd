"""A search over settings by Optuna's tree-structured Parzen estimator, which goes on where it was interrupted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from vizrec_spark.errors import ConfigError

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.trial import FrozenTrial

Settings = Mapping[str, float]
"""Settings by name."""

Report = Callable[[float], None]
"""Tells the metric of a trial after each of its epochs. Raises: Pruned where the trial need not go on."""


class Tried(NamedTuple):
    """A trial that has ended: its settings, the metric, and where it was told after each epoch these metrics; pruned:
    it was stopped early, as it promised little, and the metric is the best of its epochs."""

    settings: Settings
    value: float
    epochs: tuple[float, ...] = ()
    pruned: bool = False


class Pruned(Exception):
    """Raised by a `Report`: of this trial no more is needed."""


class Budget(NamedTuple):
    """trials: at most, earlier ones included; patience: stop after so many in a row without a better one; seed."""

    trials: int
    patience: int
    seed: int


class Space(Protocol):
    """What may be tried. configured: the settings of trial 0, which lie in it."""

    configured: Settings

    def draw(self, trial: Trial) -> Settings:
        """What to try next."""
        ...

    def parameters(self, settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
        """Settings as Optuna's parameters, and their distributions by the same names."""
        ...


def search(
    objective: Callable[[Settings, Report], float],
    space: Space,
    budget: Budget,
    earlier: Sequence[Tried],
    finished: Callable[[int, Tried], None],
    *,
    minimize: bool = False,
    pruner: Any = None,
    no_number: float | None = None,
) -> list[Tried]:
    """All trials, `earlier` ones first, in order; `finished(number, trial)` is called after each new one.

    Trial 0 is what is configured, and is never pruned, so that the best is never worse. Each trial draws from its own
    seed and from what was tried before: a search that was interrupted goes on as if nothing had happened. pruner: one
    of Optuna's, for objectives that report epochs; None: none.
    no_number: a trial whose metric is NaN or infinite, be it trial 0, counts as pruned, with the best number of its
    epochs as its metric, or this where there is none; None: its metric is taken as it is.

    Raises: ConfigError when Optuna is not installed.
    """
    optuna = require_optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="minimize" if minimize else "maximize", pruner=pruner or optuna.pruners.NopPruner()
    )
    tried = list(earlier)
    for trial in tried:
        study.add_trial(_frozen(space, trial))
    while len(tried) < budget.trials and not stale(_gains(tried, minimize), budget.patience):
        number = len(tried)
        study.sampler = optuna.samplers.TPESampler(seed=budget.seed + number)
        asked = study.ask() if number else None
        settings = space.configured if asked is None else space.draw(asked)
        trial = _with_a_number(_run(objective, settings, asked, minimize), minimize, no_number)
        if asked is None:
            study.add_trial(_frozen(space, trial))
        elif trial.pruned:
            study.tell(asked, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(asked, trial.value)
        tried.append(trial)
        finished(number, trial)
    return tried


def stale(gains: Sequence[float], patience: int) -> bool:
    """Whether the last `patience` gains (larger is better) are no better than the best before them."""
    before = gains[:-patience]
    return len(before) > 0 and max(gains[-patience:]) <= max(before)


def best(tried: Sequence[Tried], *, minimize: bool = False) -> int:
    """The number of the best trial that came to its end; the earlier of equals."""
    gains = _gains(tried, minimize)
    return max(range(len(tried)), key=lambda number: (gains[number], -number))


def require_optuna() -> Any:
    """The package Optuna. Raises: ConfigError when it is not installed."""
    try:
        import optuna
    except ImportError:
        raise ConfigError(
            "Tuning needs Optuna, which is not installed: pip install 'vizrec-spark[tune]'."
        ) from None
    return optuna


def _run(
    objective: Callable[[Settings, Report], float], settings: Settings, asked: Any, minimize: bool
) -> Tried:
    epochs: list[float] = []

    def report(value: float) -> None:
        epochs.append(value)
        if asked is not None:
            asked.report(value, len(epochs))
            if asked.should_prune():
                raise Pruned

    try:
        return Tried(settings, objective(settings, report), tuple(epochs))
    except Pruned:
        return Tried(settings, (min if minimize else max)(epochs), tuple(epochs), pruned=True)


def _with_a_number(trial: Tried, minimize: bool, no_number: float | None) -> Tried:
    if no_number is None or math.isfinite(trial.value):
        return trial
    numbers = [value for value in trial.epochs if math.isfinite(value)]
    value = (min if minimize else max)(numbers) if numbers else no_number
    return trial._replace(value=value, pruned=True)


def _gains(tried: Sequence[Tried], minimize: bool) -> list[float]:
    signed = [-trial.value if minimize else trial.value for trial in tried]
    return [-math.inf if trial.pruned else gain for trial, gain in zip(tried, signed, strict=True)]


def _frozen(space: Space, tried: Tried) -> FrozenTrial:
    """A trial that has ended as Optuna keeps it."""
    optuna = require_optuna()
    states = optuna.trial.TrialState
    parameters, distributions = space.parameters(tried.settings)
    made: FrozenTrial = optuna.trial.create_trial(
        state=states.PRUNED if tried.pruned else states.COMPLETE,
        params=parameters,
        distributions=distributions,
        value=None if tried.pruned else tried.value,
        intermediate_values=dict(enumerate(tried.epochs, 1)),
    )
    return made
