"""MLlib's ALS with tuned settings."""

from __future__ import annotations

from itertools import product

from pyspark.sql import DataFrame

from benchmarks.quality.window import Window
from vizrec_spark.als.recommender import AlsRecommender
from vizrec_spark.als.validation import mean_ndcg
from vizrec_spark.config.models import AlsConfig

_PENALTIES = (0.05, 0.2, 0.5)
_ALPHAS = (1.0, 4.0)


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


def tuned(train: DataFrame, validation: DataFrame, base: AlsConfig) -> tuple[AlsConfig, float]:
    """The settings of the grid with the best nDCG@10 on `validation` of models learned from `train`, and that value.

    Both are rows of `interactions`. The rank stays that of `base`.
    """
    pair = ["user_id", "item_id"]
    wanted = validation.select(*pair).distinct().join(train.select(*pair), pair, "left_anti").persist()
    users = wanted.select("user_id").distinct()

    def value(settings: AlsConfig) -> float:
        model = AlsRecommender(settings).fit(train)
        try:
            found = float(mean_ndcg(model.recommend(users, 10), wanted, 10).collect()[0].value)
        finally:
            model.unpersist()
        print(f"  nDCG@10 {found:.4f} with {settings.regularization} and alpha {settings.alpha}", flush=True)
        return found

    grid = [
        base.model_copy(update={"regularization": penalty, "alpha": alpha})
        for penalty, alpha in product(_PENALTIES, _ALPHAS)
    ]
    try:
        values = [value(settings) for settings in grid]
    finally:
        wanted.unpersist()
    best = max(range(len(grid)), key=values.__getitem__)
    return grid[best], values[best]
