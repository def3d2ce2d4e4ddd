"""The study of the fine-tuning on trainings that one can see through: what is stopped, kept, gone on with, left out."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from tests.fine_tuning import features
from vizrec_spark.adapt import search as searching
from vizrec_spark.adapt.fine_tune.blocks import usable
from vizrec_spark.adapt.fine_tune.make import Labelled, Workshop
from vizrec_spark.adapt.search import search_fine_tune, search_head, together
from vizrec_spark.adapt.spool import Features
from vizrec_spark.adapt.task import Task
from vizrec_spark.config.models import AdaptConfig, FineTuneConfig
from vizrec_spark.kernels.trials import Report, Tried
from vizrec_spark.stage import StageContext
from vizrec_spark.tables import Written

EPOCHS, TRIALS = 5, 9
TASK = Task("binary", ("bag", "hat"))


class Killed(BaseException):
    """A kill, as far as the tables can tell."""


class Bench:
    """A workshop whose losses are known: best at a rate of 0.0003, and NaN where that is asked for."""

    def __init__(self) -> None:
        self.source = SimpleNamespace(encoder_id="tiny-1")
        self.there: set[FineTuneConfig] = set()
        self.trained: list[FineTuneConfig] = []
        self.no_number: int | None = None
        self.killed: int | None = None

    def usable_blocks(self, counts: Any, _: FineTuneConfig) -> list[int]:
        return [count for count in counts if count <= 3]

    def train(self, settings: FineTuneConfig, told: Report) -> Any:
        number = len(self.trained)
        self.trained.append(settings)
        self.there.add(settings)
        losses = [
            abs(math.log10(settings.learning_rate / 0.0003)) + 1 / epoch for epoch in range(1, EPOCHS + 1)
        ]
        for epoch, loss in enumerate(losses, 1):
            if (number, epoch) == (self.killed, 2):
                raise Killed
            told(math.nan if number == self.no_number and epoch > 1 else loss)
        return SimpleNamespace(after=math.nan if number == self.no_number else min(losses))

    def forget(self, settings: FineTuneConfig) -> None:
        self.there.discard(settings)


class Kept:
    """The table of trials in memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: dict[str, dict[int, Tried]] = {}
        monkeypatch.setattr(
            searching, "trials_of", lambda _, __, study: list(self.rows.get(study, {}).values())
        )
        monkeypatch.setattr(searching, "keep_trial", self.keep)

    def keep(self, _: Any, __: Any, ___: Any, study: str, number: int, tried: Tried, metric: str) -> Written:
        assert (
            metric == "log_loss" and tried.value >= 0 and math.isfinite(tried.value)
        )  # the table's own checks
        self.rows.setdefault(study, {})[number] = tried
        return Written("adaptation_trials", "here", number + 1, number + 1, 1)

    @property
    def trials(self) -> list[Tried]:
        [study] = self.rows.values()
        return list(study.values())


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    return Kept(monkeypatch)


def context() -> StageContext:
    tables = SimpleNamespace(unchanged=lambda table: Written(table.name, "here", 0, 0, 0))
    return cast("StageContext", SimpleNamespace(tables=tables, spark=None))


def labelled() -> Labelled:
    names = pa.array(["0", "1"], pa.string())
    nothing = pa.table({"sha256": pa.array([], pa.string()), "part": pa.array([], pa.string())})
    truth = np.eye(2, dtype=bool)
    return Labelled(
        names, Features(np.eye(2, dtype=np.float32)), truth, np.array(["train", "validation"]), nothing
    )


def study(bench: Bench) -> tuple[FineTuneConfig, list[Written]]:
    config = AdaptConfig.model_validate({"search": {"trials": TRIALS, "patience": TRIALS}})
    found, written = search_fine_tune(context(), config, labelled(), TASK, cast("Workshop", bench))
    return found.fine_tune, written


def test_it_stops_what_promises_little_and_keeps_the_training_of_the_best_alone(kept: Kept) -> None:
    bench = Bench()
    found, written = study(bench)
    stopped = [trial for trial in kept.trials if trial.pruned]
    assert len(kept.trials) == TRIALS and not kept.trials[0].pruned
    assert stopped and all(2 <= len(trial.epochs) < EPOCHS for trial in stopped)
    least = min((trial for trial in kept.trials if not trial.pruned), key=lambda trial: trial.value)
    assert found.learning_rate == least.settings["learning_rate"] and bench.there == {found}
    assert [(one.changed, one.rows) for one in written] == [(TRIALS, TRIALS)]


@pytest.mark.parametrize("killed", [0, 3, 7])
def test_after_a_kill_it_goes_on_as_if_nothing_had_happened(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, killed: int
) -> None:
    whole, _ = study(Bench())
    undisturbed = kept.trials
    again = Kept(monkeypatch)
    bench = Bench()
    bench.killed = killed
    with pytest.raises(Killed):
        study(bench)
    assert sum(map(len, again.rows.values())) == killed
    bench.killed = None
    found, _ = study(bench)
    assert (again.trials, found) == (undisturbed, whole)
    assert len(bench.trained) == TRIALS + 1  # the trial at hand once more, none that had ended


@pytest.mark.parametrize("number", [0, 2, 6])
def test_a_trial_without_a_loss_counts_as_stopped_and_the_search_goes_on(kept: Kept, number: int) -> None:
    bench = Bench()
    bench.no_number = number
    found, _ = study(bench)
    assert len(kept.trials) == TRIALS
    assert kept.trials[number].pruned and kept.trials[number].value == kept.trials[number].epochs[0]
    assert found.learning_rate != kept.trials[number].settings["learning_rate"]


def test_a_head_without_a_loss_too(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.7, math.nan, math.inf, 0.5])
    monkeypatch.setattr(searching, "network_loss", lambda *_: next(losses))
    config = AdaptConfig.model_validate({"search": {"trials": 4}})
    search_head(context(), config, "tiny-1", labelled().features, labelled(), TASK)
    assert [trial.pruned for trial in kept.trials] == [False, True, True, False]


def test_blocks_that_the_encoder_does_not_have_are_left_out_before_the_first_trial(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", logger="vizrec")
    bench = Bench()
    study(bench)
    assert {settings.blocks for settings in bench.trained} <= {1, 2}
    assert any(
        "adapt.search.fine_tune.blocks = [4] left out" in record.getMessage() for record in caplog.records
    )
    assert usable(features(), (1, 2, 4, 3), batch_norm=False) == [1, 2, 3]


def test_writes_to_one_table_are_told_as_one() -> None:
    assert together([]) == []
    assert together([Written("t", "p", 1, 5, 2), Written("t", "p", 3, 9, 4)]) == [Written("t", "p", 3, 9, 6)]
