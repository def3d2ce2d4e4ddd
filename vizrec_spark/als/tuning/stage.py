"""Wires job `tune`: trials of ALS on interactions held out by time, and the best as a configuration file."""

from __future__ import annotations

from pathlib import Path

import yaml

from vizrec_spark.als.checkpoints import checkpoints
from vizrec_spark.als.recommender import AlsRecommender
from vizrec_spark.als.settings import first_settings
from vizrec_spark.als.tuning.search import search
from vizrec_spark.als.tuning.study import study_id
from vizrec_spark.als.validation import last_share, mean_ndcg, relevant
from vizrec_spark.config.models import AlsConfig
from vizrec_spark.config.models.als import with_settings
from vizrec_spark.errors import TableError
from vizrec_spark.kernels.trials import Settings, Tried, best, require_optuna
from vizrec_spark.stage import Stage, StageContext, StageResult, log
from vizrec_spark.tables import Written
from vizrec_spark.tables.schemas import INTERACTIONS, TUNING_TRIALS
from vizrec_spark.tables.trials import keep_trial, trials_of

_SEARCHED = {"rank", "regularization", "alpha", "half_life_days"}


def run(context: StageContext) -> StageResult:
    """Goes on with the study of this data and set-up, or begins it, and writes its best settings."""
    require_optuna()  # said before anything is split
    tables, tune = context.tables, context.config.tune
    als = first_settings(tables, context.config)
    interactions = tables.pinned(INTERACTIONS)
    split = last_share(interactions, tune.held_out).persist()
    wanted = relevant(split).persist()
    try:
        n_wanted = wanted.count()
        if n_wanted == 0:
            raise TableError(
                f"Table interactions has nothing to foretell: no user of before has a new, liked item among the latest "
                f"{tune.held_out:.0%} of all interactions. Set tune.held_out otherwise, or gather more data."
            )
        study, metric = study_id(interactions, als, tune), f"ndcg@{tune.k}"
        earlier = trials_of(tables, TUNING_TRIALS, study)
        known = split.where("NOT held_out").select(interactions.columns)
        users = wanted.select("user_id").distinct()

        written: list[Written] = []

        def objective(settings: Settings) -> float:
            recommender = AlsRecommender(with_settings(als, settings)).fit(known)
            try:
                judged = mean_ndcg(recommender.recommend(users, tune.k), wanted, tune.k).collect()[0]
                return float(judged.value)
            finally:
                recommender.unpersist()

        def finished(number: int, trial: Tried) -> None:
            written[:] = [keep_trial(tables, context.spark, TUNING_TRIALS, study, number, trial, metric)]
            log.info("trial %d: %s %.4f with %s", number, metric, trial.value, _words(trial.settings))

        tables.ensure(TUNING_TRIALS)
        with checkpoints(context.spark, als.checkpoint_dir):
            tried = search(objective, als, tune, earlier, finished)
    finally:
        wanted.unpersist()
        split.unpersist()
    chosen = best(tried)
    _write(Path(tune.output), with_settings(als, tried[chosen].settings), study, metric, tried[chosen].value)
    told = [
        f"study {study}: {len(tried)} trials, {len(earlier)} from earlier runs; {n_wanted:,} items to foretell",
        f"{metric} {tried[0].value:.4f} as configured; best, in trial {chosen}: {tried[chosen].value:.4f} with "
        f"{_words(tried[chosen].settings)}",
        f"written to {tune.output}: give it with --config, or copy its keys",
    ]
    metrics = {
        f"first_{metric}": tried[0].value,
        f"best_{metric}": tried[chosen].value,
        "trials": float(len(tried)),
    }
    return StageResult(written, told, metrics)


STAGE = Stage("tune", "search for the settings of ALS", run)


def _words(settings: Settings) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in settings.items())


def _write(place: Path, als: AlsConfig, study_id: str, metric: str, value: float) -> None:
    """An override file: what was searched, as it came out best; in place only when whole."""
    chosen = als.model_dump(mode="json", include=_SEARCHED)
    place.parent.mkdir(parents=True, exist_ok=True)
    new = place.with_name(f"{place.name}.new")
    head = f"# The best settings of study {study_id}: {metric} = {value:.4f} on held-out interactions.\n"
    new.write_text(head + yaml.safe_dump({"als": chosen}, sort_keys=False), encoding="utf-8")
    new.replace(place)
