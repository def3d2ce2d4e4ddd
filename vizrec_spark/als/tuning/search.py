"""What is tried of the settings of ALS, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from vizrec_spark.config.models import AlsConfig, TuneConfig
from vizrec_spark.config.models.als import settings_of
from vizrec_spark.kernels import trials
from vizrec_spark.kernels.trials import Budget, Settings, Tried, require_optuna

if TYPE_CHECKING:
    from optuna import Trial


def search(
    objective: Callable[[Settings], float],
    als: AlsConfig,
    tune: TuneConfig,
    earlier: Sequence[Tried],
    finished: Callable[[int, Tried], None],
) -> list[Tried]:
    """`kernels.trials.search` over the settings of section `als`; without `half_life_days`, all events count alike.

    Trial 0 is `als` as it is configured. Raises: ConfigError when Optuna is not installed.
    """
    budget = Budget(tune.trials, tune.patience, tune.seed)
    return trials.search(lambda settings, _: objective(settings), Space(als, tune), budget, earlier, finished)


class Space:
    """The distributions of the search; the configured settings always lie in them."""

    def __init__(self, als: AlsConfig, tune: TuneConfig) -> None:
        distributions = require_optuna().distributions
        configured = settings_of(als)
        spans = {"regularization": tune.regularization}
        if als.preference == "implicit":
            spans["alpha"] = tune.alpha
            spans["half_life_days"] = tune.half_life_days
        self.configured: Settings = configured
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

    def parameters(self, settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
        """Settings as Optuna's parameters, and their distributions by the same names."""
        parameters: dict[str, Any] = {**settings, "rank": int(settings["rank"])}
        if "recency" in self._all:
            parameters["recency"] = "half_life_days" in parameters
        return parameters, {name: self._all[name] for name in parameters}
