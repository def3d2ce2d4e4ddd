"""The search for settings of the head and of the fine-tuning, by their log-loss on validation pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from vizrec_spark import __version__
from vizrec_spark.adapt.choose import network_loss
from vizrec_spark.adapt.fine_tune.make import Labelled, Workshop
from vizrec_spark.adapt.spool import Features
from vizrec_spark.adapt.task import Task
from vizrec_spark.config.models import AdaptConfig, FineTuneConfig, HeadConfig, ShareSpanConfig, SpanConfig
from vizrec_spark.kernels.trials import Budget, Pruned, Report, Settings, Tried, best, require_optuna, search
from vizrec_spark.stage import StageContext, log
from vizrec_spark.tables import Written
from vizrec_spark.tables.schemas import ADAPTATION_TRIALS
from vizrec_spark.tables.trials import keep_trial, trials_of

if TYPE_CHECKING:
    from optuna import Trial

_METRIC = "log_loss"
_NO_NUMBER = 1e9  # is kept as the loss of a trial that has none, so that it counts as the worst
_STARTUP, _WARMUP = 4, 2  # trials before any is stopped early, and epochs that each may have

Searched = TypeVar("Searched", HeadConfig, FineTuneConfig)


def search_head(
    context: StageContext, config: AdaptConfig, base: str, features: Features, labelled: Labelled, task: Task
) -> tuple[AdaptConfig, list[Written]]:
    """`config` with the best settings of its head found by `config.search.trials` trials on the vectors of `base`.

    A trial trains the network on the pictures of part ``train``; its log-loss is that on ``validation``, at the best
    temperature. Goes on with the study of the same vectors and set-up. Raises: ConfigError without Optuna.
    """

    def objective(head: HeadConfig, _: Report) -> float:
        return network_loss(features, labelled.truth, labelled.part, task.kind, head, config.seed)

    spans = config.search.head
    ranges: dict[str, Any] = {
        name: getattr(spans, name) for name in type(spans).model_fields if name != "widths"
    }
    if len(config.head.layers) < 2:
        ranges["width"] = spans.widths
    facts = (base, labelled.fingerprint(task), config.seed)
    tuned, written = _searched(context, config, config.head, "head", ranges, facts, objective)
    return config.model_copy(update={"head": tuned}), written


def search_fine_tune(
    context: StageContext, config: AdaptConfig, labelled: Labelled, task: Task, workshop: Workshop
) -> tuple[AdaptConfig, list[Written]]:
    """`config` with the best settings of its fine-tuning; each trial is one. Trials that are worse than most after as
    many epochs are stopped. The training of the best is not forgotten, so that `workshop.make` has it at once.
    """
    kept: list[tuple[float, FineTuneConfig]] = []

    def objective(settings: FineTuneConfig, report: Report) -> float:
        try:
            loss = workshop.train(settings, report).after
        except Pruned:
            workshop.forget(settings)
            raise
        kept.append((loss, settings))
        kept.sort(key=lambda one: one[0])
        for _, worse in kept[1:]:
            if worse != kept[0][1]:
                workshop.forget(worse)
        del kept[1:]
        return loss

    spans = config.search.fine_tune
    ranges: dict[str, Any] = {name: getattr(spans, name) for name in type(spans).model_fields}
    ranges["blocks"] = workshop.usable_blocks(spans.blocks, config.fine_tune)
    if dropped := sorted(set(spans.blocks) - set(ranges["blocks"])):
        few = "so many last blocks of the encoder are not there, or have nothing to learn"
        log.warning("adapt: adapt.search.fine_tune.blocks = %s left out: %s", dropped, few)
    facts = (workshop.source.encoder_id, labelled.fingerprint(task), config.seed)
    tuned, written = _searched(
        context, config, config.fine_tune, "fine_tune", ranges, facts, objective, workshop.forget
    )
    return config.model_copy(update={"fine_tune": tuned}), written


def _searched(
    context: StageContext,
    config: AdaptConfig,
    configured: Searched,
    what: str,
    ranges: Mapping[str, Any],
    facts: tuple[object, ...],
    objective: Callable[[Searched, Report], float],
    loser: Callable[[Searched], None] = lambda _: None,
) -> tuple[Searched, list[Written]]:
    """`configured` with the best settings that the study has, and the table of trials; loser: gets all others."""
    tables, space = context.tables, _Space(configured, ranges)
    budget = Budget(config.search.trials, config.search.patience, config.seed)
    fixed = configured.model_dump_json(exclude={"checkpoint"})
    text = f"{__version__}|{fixed}|{sorted(space.known.items())}|{facts}"
    study = f"{what}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    earlier = trials_of(tables, ADAPTATION_TRIALS, study)
    written: list[Written] = [tables.unchanged(ADAPTATION_TRIALS)]

    def finished(number: int, trial: Tried) -> None:
        written[:] = together(
            [*written, keep_trial(tables, context.spark, ADAPTATION_TRIALS, study, number, trial, _METRIC)]
        )
        early = f", stopped after {len(trial.epochs)} epochs" if trial.pruned else ""
        told = (number, study, _METRIC, trial.value, early, _words(trial.settings))
        log.info("adapt: trial %d of %s: %s %.4f%s with %s", *told)

    pruner = require_optuna().pruners.MedianPruner(n_startup_trials=_STARTUP, n_warmup_steps=_WARMUP)
    tried = search(
        lambda settings, report: objective(with_values(configured, settings), report),
        space,
        budget,
        earlier,
        finished,
        minimize=True,
        pruner=pruner,
        no_number=_NO_NUMBER,
    )
    chosen = best(tried, minimize=True)
    log.info(
        "adapt: study %s: %d trials, %d from earlier runs; %s %.4f as configured; best, in trial %d: %.4f with %s",
        *(study, len(tried), len(earlier), _METRIC, tried[0].value, chosen, tried[chosen].value),
        _words(tried[chosen].settings),
    )
    for trial in tried:
        if trial.settings != tried[chosen].settings:
            loser(with_values(configured, trial.settings))
    return with_values(configured, tried[chosen].settings), written


def together(written: Sequence[Written]) -> list[Written]:
    """Writes to one table as one: what it is after the last, and the rows that all have changed."""
    return [replace(written[-1], changed=sum(one.changed for one in written))] if written else []


def values_of(section: HeadConfig | FineTuneConfig, names: Mapping[str, Any]) -> dict[str, float]:
    """The searched settings of a section by name; `width` is that of the only layer, 0 without one."""
    return {name: float(_value(section, name)) for name in names}


def _value(section: HeadConfig | FineTuneConfig, name: str) -> float:
    if isinstance(section, HeadConfig) and name == "width":
        return section.layers[0] if section.layers else 0
    found: float = getattr(section, name)
    return found


def with_values(section: Searched, settings: Settings) -> Searched:
    """The section with other settings; numbers that count are whole. Opposite of `values_of`."""
    changed: dict[str, Any] = dict(settings)
    if "blocks" in changed:
        changed["blocks"] = int(changed["blocks"])
    if "width" in changed:
        width = int(changed.pop("width"))
        changed["layers"] = (width,) if width else ()
    return type(section).model_validate({**section.model_dump(), **changed})


class _Space:
    """What is tried: numbers from a list, shares, and lengths on a logarithmic scale; as configured lies in it, and a
    length that is configured as 0 is not searched."""

    def __init__(self, section: HeadConfig | FineTuneConfig, ranges: Mapping[str, Any]) -> None:
        distributions = require_optuna().distributions
        values = values_of(section, ranges)
        self.known: dict[str, Any] = {}
        for name, span in ranges.items():
            value = values[name]
            if isinstance(span, SpanConfig | ShareSpanConfig):
                logarithmic = isinstance(span, SpanConfig)
                if value > 0 or not logarithmic:
                    ends = min(span.low, value), max(span.high, value)
                    self.known[name] = distributions.FloatDistribution(*ends, log=logarithmic)
            else:
                choices = sorted({int(value), *span})
                self.known[name] = distributions.CategoricalDistribution(choices)
        self.configured: Settings = {name: values[name] for name in self.known}

    def draw(self, trial: Trial) -> Settings:
        """What to try next."""
        drawn: dict[str, float] = {}
        for name, known in self.known.items():
            if hasattr(known, "choices"):
                drawn[name] = float(trial.suggest_categorical(name, known.choices))
            else:
                drawn[name] = trial.suggest_float(name, known.low, known.high, log=known.log)
        return drawn

    def parameters(self, settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
        """Settings as Optuna's parameters, and their distributions by the same names."""
        listed = {name: int(v) if hasattr(self.known[name], "choices") else v for name, v in settings.items()}
        return listed, self.known


def _words(settings: Settings) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in settings.items())
