"""MLlib's ALS with tuned settings."""

from __future__ import annotations

from pyspark.sql import DataFrame

from benchmarks.quality.window import Window
from vizrec_spark.als.recommender import AlsRecommender
from vizrec_spark.als.tuning.search import Tried, best, search, with_settings
from vizrec_spark.als.validation import mean_ndcg
from vizrec_spark.config.models import AlsConfig, TuneConfig


def als(window: Window) -> DataFrame:
    """Learned from training and validation, with the settings that were best on validation."""
    return learned(window).recommend(window.users, window.depth)


def learned(window: Window) -> AlsRecommender:
    """ALS on all that is known; learned once a window and kept as a file."""
    place = window.folder / "als"
    if not place.exists():
        model = AlsRecommender(window.als).fit(window.known)
        model.save(str(place))
        model.unpersist()
    return AlsRecommender.load(window.spark, str(place))


def tuned(
    train: DataFrame, validation: DataFrame, base: AlsConfig, trials: int, seed: int
) -> tuple[AlsConfig, list[Tried]]:
    """The settings of the best nDCG@10 on `validation` of models learned from `train`; both rows of `interactions`."""
    pair = ["user_id", "item_id"]
    wanted = validation.select(*pair).distinct().join(train.select(*pair), pair, "left_anti").persist()
    users = wanted.select("user_id").distinct()

    def objective(settings: object) -> float:
        recommender = AlsRecommender(with_settings(base, settings)).fit(train)  # type: ignore[arg-type]
        try:
            return float(mean_ndcg(recommender.recommend(users, 10), wanted, 10).collect()[0].value)
        finally:
            recommender.unpersist()

    tune = TuneConfig(trials=trials, patience=trials, ranks=(16, 32), seed=seed)
    try:
        tried = search(
            objective, base, tune, [], lambda number, trial: print(f"  trial {number}: {trial}", flush=True)
        )
    finally:
        wanted.unpersist()
    return with_settings(base, tried[best(tried)].settings), tried
