"""The hybrid as one call: from frames of the tables' columns to everything that scoring needs.

Stage `recommend` and evaluations go through here, so that what is judged is what is published.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pyspark import Broadcast
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import AlsConfig, RecommendConfig
from vizrec_spark.recommend.assemble import Settings, co_consumption, counts_of, fixed_side, item_side
from vizrec_spark.recommend.blend import Blend, configured
from vizrec_spark.recommend.content import factors_from_content
from vizrec_spark.recommend.describe import describe
from vizrec_spark.recommend.gather import gather_content, gather_factors, gather_log, gather_people
from vizrec_spark.recommend.history import user_rows
from vizrec_spark.recommend.items import ItemSide
from vizrec_spark.recommend.learn import learn_blend
from vizrec_spark.recommend.log import Log, present
from vizrec_spark.recommend.score import score_users
from vizrec_spark.recommend.segments import gather_segments, standing_of
from vizrec_spark.recommend.users import Users, gather_users

_SAMPLE_USERS = 500


@dataclass(frozen=True)
class Inputs:
    """Frames: `items`, `item_factors` and `user_factors` of one model as in the tables of these names; `touched`
    (`history.touched_pairs` of the interactions); `looks` (item_id, content, looks), `neighbors` (item_id, neighbor_id,
    cosine) and `duplicates` (item_id, group_id) of one encoder with the `mean_cosine` of its random pairs. Any but
    `items` may be empty. `segments`: the table, where there is one.

    `touched` is read three times, and once more with `segments`: a caller does well to persist it.
    """

    items: DataFrame
    touched: DataFrame
    user_factors: DataFrame
    item_factors: DataFrame
    looks: DataFrame
    neighbors: DataFrame
    duplicates: DataFrame
    mean_cosine: float = 0.0
    segments: DataFrame | None = None


@dataclass(frozen=True)
class Hybrid:
    """A fitted hybrid: the item side and the blend."""

    side: ItemSide
    blend: Blend


def fit_hybrid(inputs: Inputs, config: RecommendConfig, als: AlsConfig, known: Blend | None = None) -> Hybrid:
    """Learns the blend on the end of `inputs.touched` and fits all parts again on the whole of it.

    A blend that is `known` is taken as it is, and only the item side is fitted. The factors come as they are: they
    must stem from the same interactions. Without any, no weight is learned for what they would say.
    """
    spark = inputs.items.sparkSession
    content = gather_content(
        inputs.items, inputs.looks, inputs.neighbors, inputs.duplicates, inputs.mean_cosine, config
    )
    log = gather_log(inputs.touched, content)
    fixed = fixed_side(content)
    factors = gather_factors(inputs.item_factors, content.ids, "item_id")
    if not factors.any():
        config = config.model_copy(update={"weights": config.weights.model_copy(update={"cf": 0.0})})
    blend = known
    if blend is None and config.learn.enabled:
        blend = learn_blend(spark, log, content, fixed, config, als)
    settings = Settings() if blend is None else blend.settings
    has_factors = np.asarray(factors.any(axis=1))
    users = gather_user_sample(inputs.user_factors, factors.shape[1])
    model, predicted = factors_from_content(content, factors, has_factors, users)
    modelled, counts = counts_of(log)
    people, met = (None, None) if log.whole else gather_people(inputs.touched, content)
    side = item_side(
        content,
        fixed,
        log,
        co_consumption(modelled, counts, config.neighbours, settings.regularization),
        factors,
        has_factors,
        None if model is None else predicted,
        config.half_life_days,
        met=met,
    )
    if people is not None:
        # What a reason says of people is said of all of them.
        side = replace(side, people=people)
    if inputs.segments is not None:
        half_life = config.half_life_days * 86_400.0
        counted = gather_segments(inputs.segments, inputs.touched, side.arrow_ids, present(log), half_life)
        people, trend = np.expm1(side.standing[:, :2].astype(np.float64)).T
        side = replace(side, segments=standing_of(counted, people, trend))
    if blend is None:
        some = describe(_some_users(log, side, config), side, config.candidates)
        taste = users[:_SAMPLE_USERS] @ factors.T
        largest = float(np.maximum(taste.max(axis=1), 0.0).mean()) if taste.size else 0.0
        blend = configured(config.weights, some, settings, largest)
    return Hybrid(side, blend)


def recommend_with(
    shared: Broadcast[ItemSide],
    blend: Blend,
    inputs: Inputs,
    users: DataFrame,
    config: RecommendConfig,
    als: AlsConfig,
) -> DataFrame:
    """Lists for `users` (user_id): columns as in `score.SCORED`.

    `shared`: the item side, which the caller has broadcast and destroys in the end.
    """
    # Scoring is what costs: all cores share it, however small the frames are. What is joined is shuffled once, and not
    # its rows, which are much larger, once more.
    n = 2 * users.sparkSession.sparkContext.defaultParallelism
    rows = user_rows(
        users.select("user_id").repartition(n, "user_id"),
        inputs.touched.repartition(n, "user_id"),
        inputs.user_factors.select("user_id", "factors").repartition(n, "user_id"),
        inputs.segments,
    )
    # In a fixed order, so that the blocks, and with them the last bits of the sums, are the same in every run.
    return score_users(rows.sortWithinPartitions("user_id"), shared, blend, config, als)


def gather_user_sample(user_factors: DataFrame, rank: int) -> NDArray[np.float32]:
    """Factors of at most 20,000 users: what weighs the directions of the factor space."""
    table = (
        user_factors.select("user_id", "factors")
        .orderBy(F.xxhash64("user_id"), "user_id")
        .limit(20_000)
        .toArrow()
    )
    if table.num_rows == 0:
        return np.zeros((0, rank), dtype=np.float32)
    flat = table["factors"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat.reshape(table.num_rows, -1), dtype=np.float32)


def _some_users(log: Log, side: ItemSide, config: RecommendConfig) -> Users:
    kept = log.user < _SAMPLE_USERS
    n = min(log.n_users, _SAMPLE_USERS)
    nothing = np.zeros((n, side.factors.shape[1]), dtype=np.float32)
    return gather_users(
        nothing,
        np.zeros(n, dtype=bool),
        log.user[kept],
        log.item[kept],
        log.weight[kept],
        log.time[kept],
        keep=config.history,
        half_life=Settings().half_life,
    )
