"""What is tried, in which order: Optuna's tree-structured Parzen estimator over the settings of ALS."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vizrec_spark.config.models import AlsConfig, TuneConfig
from vizrec_spark.config.models.als import settings_of
from vizrec_spark.errors import ConfigError

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.trial import FrozenTrial

Settings = Mapping[str, float]
"""Settings of section `als` by name; without `half_life_days`, all events count alike."""


class Tried(NamedTuple):
    """A finished trial: its settings and the metric, larger is better."""

    settings: Settings
    value: float


def search(
    objective: Callable[[Settings], float],
    als: AlsConfig,
    tune: TuneConfig,
    earlier: Sequence[Tried],
    finished: Callable[[int, Tried], None],
) -> list[Tried]:
    """All trials, `earlier` ones first, in order; `finished(number, trial)` is called after each new one.

    Trial 0 is `als` as it is configured, so that the best is never worse. Stops after `tune.trials`, or when
    `tune.patience` trials in a row were no better than the best before them. Each trial draws from its own seed and
    from what was tried before: a search that was interrupted goes on as if nothing had happened.

    Raises: ConfigError when Optuna is not installed.
    """
    optuna = require_optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = Space(als, tune)
    study = optuna.create_study(direction="maximize")
    tried = list(earlier)
    for trial in tried:
        study.add_trial(space.frozen(trial))
    while len(tried) < tune.trials and not stale([trial.value for trial in tried], tune.patience):
        number = len(tried)
        study.sampler = optuna.samplers.TPESampler(seed=tune.seed + number)
        if number == 0:
            trial = Tried(space.configured, objective(space.configured))
            study.add_trial(space.frozen(trial))
        else:
            asked = study.ask()
            settings = space.draw(asked)
            trial = Tried(settings, objective(settings))
            study.tell(asked, trial.value)
        tried.append(trial)
        finished(number, trial)
    return tried


def stale(values: Sequence[float], patience: int) -> bool:
    """Whether the last `patience` values are no better than the best before them."""
    before = values[:-patience]
    return len(before) > 0 and max(values[-patience:]) <= max(before)


def best(tried: Sequence[Tried]) -> int:
    """The number of the best trial; the earlier of equals."""
    return max(range(len(tried)), key=lambda number: (tried[number].value, -number))


class Space:
    """The distributions of the search; the configured settings always lie in them."""

    def __init__(self, als: AlsConfig, tune: TuneConfig) -> None:
        distributions = require_optuna().distributions
        configured = settings_of(als)
        spans = {"regularization": tune.regularization}
        if als.preference == "implicit":
            spans["alpha"] = tune.alpha
            spans["half_life_days"] = tune.half_life_days
        self.configured = configured
        self._all: dict[str, Any] = {
            "rank": distributions.CategoricalDistribution(sorted({als.rank, *tune.ranks})),
            **{
                name: distributions.FloatDistribution(
                    min(span.low, configured.get(name) or span.low),
                    max(span.high, configured.get(name) or span.high),
                    log=True,
                )
                for name, span in spans.items()
            },
        }
        if als.preference == "implicit":
            self._all["recency"] = distributions.CategoricalDistribution([False, True])

    def draw(self, trial: Trial) -> Settings:
        """What to try next."""
        drawn: dict[str, float] = {}
        for name, known in self._all.items():
            if name in ("rank", "recency"):
                drawn[name] = float(trial.suggest_categorical(name, known.choices))
            elif name != "half_life_days":
                drawn[name] = trial.suggest_float(name, known.low, known.high, log=True)
        if drawn.pop("recency", 0.0):
            known = self._all["half_life_days"]
            drawn["half_life_days"] = trial.suggest_float("half_life_days", known.low, known.high, log=True)
        return drawn

    def frozen(self, tried: Tried) -> FrozenTrial:
        """A finished trial as Optuna keeps it."""
        parameters: dict[str, Any] = {**tried.settings, "rank": int(tried.settings["rank"])}
        if "recency" in self._all:
            parameters["recency"] = "half_life_days" in parameters
        known = {name: self._all[name] for name in parameters}
        made: FrozenTrial = require_optuna().trial.create_trial(
            params=parameters, distributions=known, value=tried.value
        )
        return made


def require_optuna() -> Any:
    """The package Optuna. Raises: ConfigError when it is not installed."""
    try:
        import optuna
    except ImportError:
        raise ConfigError(
            "Tuning needs Optuna, which is not installed: pip install 'vizrec-spark[tune]'."
        ) from None
    return optuna
