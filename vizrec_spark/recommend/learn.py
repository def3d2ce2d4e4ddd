"""Learns the blend on a validation window: models see the time before it, weights are fitted on what came in it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyspark import inheritable_thread_target
from pyspark.sql import SparkSession

from vizrec_spark.config.models import AlsConfig, CandidatesConfig, RecommendConfig
from vizrec_spark.recommend.assemble import (
    Fixed,
    Settings,
    co_consumption,
    counts_of,
    item_side,
)
from vizrec_spark.recommend.blend import Blend, Judged
from vizrec_spark.recommend.content import Content, factors_from_content
from vizrec_spark.recommend.describe import Candidates, describe
from vizrec_spark.recommend.fit import Fitted, fit_weights
from vizrec_spark.recommend.items import Entries, ItemSide
from vizrec_spark.recommend.log import Log, validation_window
from vizrec_spark.recommend.sources import FEATURES, NAMES, at, used_features, used_limits
from vizrec_spark.recommend.users import Users, gather_users
from vizrec_spark.recommend.window_als import window_als

HALF_LIVES = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 1e6)
REGULARIZATIONS = (10.0, 30.0, 100.0, 300.0)
LEARNED_SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
NEW_OFFSETS = (-8.0, -4.0, -2.0, -1.0, -0.5, 0.0)
"""What is tried against new items, in standard deviations of the score: those that nobody has met although they were
there are not as wanted as those that are shown as if new."""
_CHOICE_USERS = 1500
_DEPTH = 80
_AT = 10
_SINGLES = tuple(f.name for f in FEATURES if f.name not in ("new", "new_als", "freshness"))


class Window(NamedTuple):
    """The training window's models and who is judged on what followed.

    `judged`: users (positions); `chosen` (pairs of judged row, item): what they chose in the validation window.
    """

    train: Log
    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]
    predicted: NDArray[np.float64] | None
    modelled: NDArray[np.int64]
    counts: NDArray[np.float32]
    judged: NDArray[np.int64]
    chosen_row: NDArray[np.int64]
    chosen_item: NDArray[np.int64]

    @property
    def ideal(self) -> NDArray[np.int64]:
        """How many items each judged user chose in the validation window."""
        return np.bincount(self.chosen_row, minlength=len(self.judged))


class Judges(NamedTuple):
    """u users who judge rankings of their m described candidates, user by user: `user`, `item` (m,) and `features`
    (m, f); `hit` (m,) says what each chose; `start` (u,) is the first row of each, `relevant` (u,) how many items they
    chose in all."""

    user: NDArray[np.int64]
    item: NDArray[np.int32]
    features: NDArray[np.float64]
    hit: NDArray[np.bool_]
    start: NDArray[np.int64]
    relevant: NDArray[np.int64]

    @classmethod
    def on(cls, found: Candidates, hit: NDArray[np.bool_], relevant: NDArray[np.int64]) -> Judges:
        """The users of described candidates."""
        return cls(found.user, found.item, found.features.astype(float), hit, found.indptr[:-1], relevant)

    def of(self, some: NDArray[np.bool_]) -> Judges:
        """Those for whom `some` (u,) holds."""
        kept = some[self.user]
        user = (np.cumsum(some) - 1)[self.user[kept]]
        start = np.searchsorted(user, np.arange(int(some.sum())))
        return Judges(user, self.item[kept], self.features[kept], self.hit[kept], start, self.relevant[some])

    def ndcg(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """NDCG@10 of each user who ranks by features @ raw (Järvelin and Kekäläinen 2002; binary gains, log2
        discounts)."""
        order = np.lexsort((self.item, -(self.features @ raw), self.user))
        place = np.arange(len(order)) - self.start[self.user[order]]
        gain = np.where(self.hit[order] & (place < _AT), 1.0 / np.log2(place + 2.0), 0.0)
        total = np.bincount(self.user[order], weights=gain, minlength=len(self.relevant))
        steps = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(_AT) + 2.0))])
        return np.asarray(total / np.maximum(steps[np.minimum(self.relevant, _AT)], 1e-12))


def learn_blend(
    spark: SparkSession, log: Log, content: Content, fixed: Fixed, config: RecommendConfig, als: AlsConfig
) -> Blend | None:
    """The blend, or None where fewer than `config.learn.min_users` users have a validation window.

    1. The last of each user's likes are held out; co-consumption, ALS, popularity and content models are fitted on
       the rest. 2. The ridge's regularization and the half-life of recency are those under which the ridge ranks the
       held-out items best. 3. A share of the items is shown as if new (factors predicted by a model that did not see
       them, no popularity), so that new and other items are weighed on one scale. 4. The weights are fitted. 5. Of
       the blends on the line between the best feature alone and the learned weights, and of some offsets against new
       items, the one is used that ranks best by weights fitted on one half of the users and judged on the other.
    """
    window = open_window(log, content, config, als)
    if window is None:
        return None
    used = used_features(config.weights)
    # What decides is who stands near the top: lists of a whole catalogue are learned from their heads.
    capped = {source: min(most, _DEPTH) for source, most in config.candidates.model_dump().items()}
    limits = used_limits(CandidatesConfig(**capped), config.weights)
    settings = choose_settings(window, content, fixed, config)
    entries = co_consumption(window.modelled, window.counts, config.neighbours, settings.regularization)
    rng = np.random.default_rng(config.learn.seed)
    met = np.bincount(window.train.item, minlength=log.n_items) > 0
    as_new = met & (rng.random(log.n_items) < config.learn.new_share)
    if window.predicted is None:
        as_new[:] = False
    side = _side(window, content, fixed, entries, config, as_new & content.known())
    users = _users(window, window.judged, settings, config)
    candidates = describe(users, side, limits)
    chosen = _is_chosen(candidates, window, len(side))
    deviation = candidates.features.std(axis=0, dtype=np.float64)
    used = used & (deviation > 1e-9)  # what is alike for all candidates says nothing
    scale = np.where(deviation > 1e-9, deviation, 1.0)
    fold = rng.permutation(len(window.judged)) % 2

    def fit(kept: NDArray[np.bool_]) -> Fitted:
        return fit_weights(spark, candidates, chosen, scale, kept, config.learn, used)

    # A fit is many jobs of a moment each, which wait more than they work: the three share the time.
    with ThreadPoolExecutor(3) as pool:
        kept_users = (np.ones(len(fold), dtype=bool), fold == 0, fold == 1)
        fitted = list(pool.map(inheritable_thread_target(spark)(fit), kept_users))
    # Judged where each list would be used: every item as it is, new or not.
    plain = describe(users, _side(window, content, fixed, entries, config, None), limits)
    judges = Judges.on(plain, _is_chosen(plain, window, len(side)), window.ideal)
    alone = {name: judges.ndcg(_one(name)) for name in _SINGLES if used[at(name)]}
    if not alone:  # all candidates are alike in all that is used
        return None
    best = max(alone, key=lambda name: float(alone[name].mean()))
    halves = [judges.of(fold == half) for half in (0, 1)]

    def judge(share: float, offset: float) -> NDArray[np.float64]:
        """Each user by weights that were fitted on the others."""
        found = np.empty(len(fold))
        for half in (0, 1):
            weights = shaped(fitted[2 - half].weights, share, offset)
            found[fold == half] = halves[half].ndcg(weights / scale)
        return found

    def shaped(weights: NDArray[np.float64], share: float, offset: float) -> NDArray[np.float64]:
        made = anchored(weights, best, share)
        made[at("new")] += offset * float((plain.features @ (made / scale)).std()) * scale[at("new")]
        return made

    # A part that is left out has no say in what new items are worth either.
    offsets = NEW_OFFSETS if used_features(config.weights)[at("new")] else (0.0,)
    tried = {(share, offset): judge(share, offset) for share in LEARNED_SHARES for offset in offsets}
    share, offset = best_of(tried)
    mixed, final = tried[share, offset], shaped(fitted[0].weights, share, offset)
    told = Judged("blend", float(mixed.mean()), 0.0, 0.0, 0.0)
    judged = [_compared(name, mixed, ndcg) for name, ndcg in alone.items()]
    of_new = np.array([name in ("new", "new_als") for name in NAMES])

    def spread(bound: NDArray[np.float64]) -> NDArray[np.float64]:
        # Of a part that is used alone no weight was learned.
        kept = np.where(of_new, 1.0, share if share > 0 else np.nan)
        return np.asarray(kept * (bound - fitted[0].weights))

    return Blend(
        "single" if share == 0 else "learned",
        settings,
        final,
        scale,
        final + spread(fitted[0].lo),
        final + spread(fitted[0].hi),
        (told, *judged),
        fitted[0].pairs,
        share,
    )


def best_of(tried: Mapping[tuple[float, float], NDArray[np.float64]]) -> tuple[float, float]:
    """Of the (share, offset) with NDCG@10 of each user, the one of largest mean; where nothing speaks against the
    learned weights, they stand."""
    return max(tried, key=lambda each: (round(float(tried[each].mean()), 6), *each))


def anchored(weights: NDArray[np.float64], best: str, share: float) -> NDArray[np.float64]:
    """`share` of the learned weights and the rest of their total size on the feature `best` alone.

    Likelihood counts all ranks and NDCG the first ten, so a learned blend can rank below its best feature. Between
    the two lies a line; the validation window says where on it to stop. What weighs new items against others stays.
    """
    of_new = np.array([name in ("new", "new_als") for name in NAMES])
    met = np.where(of_new, 0.0, weights)
    size = np.abs(met).sum() or 1.0
    return np.asarray(share * met + (1.0 - share) * size * _one(best) + np.where(of_new, weights, 0.0))


def _one(name: str) -> NDArray[np.float64]:
    alone = np.zeros(len(FEATURES))
    alone[at(name)] = 1.0
    return alone


def open_window(log: Log, content: Content, config: RecommendConfig, als: AlsConfig) -> Window | None:
    """Cuts the log and fits what does not depend on what is to be chosen."""
    train, held = validation_window(log, config.learn.validation_share)
    judged = np.unique(log.user[held])
    if len(judged) < config.learn.min_users:
        return None
    rng = np.random.default_rng(config.learn.seed)
    judged = np.sort(rng.permutation(judged)[: config.learn.users])
    user_factors, item_factors = window_als(train, als)
    has = np.asarray(item_factors.any(axis=1))
    model, predicted = factors_from_content(content, item_factors, has, user_factors)
    modelled, counts = counts_of(train)
    row = np.full(log.n_users, -1, dtype=np.int64)
    row[judged] = np.arange(len(judged))
    chosen = held & (row[log.user] >= 0)
    return Window(
        train,
        user_factors,
        item_factors,
        None if model is None else predicted,
        modelled,
        counts,
        judged,
        row[log.user[chosen]],
        log.item[chosen],
    )


def choose_settings(window: Window, content: Content, fixed: Fixed, config: RecommendConfig) -> Settings:
    """The regularization, then the half-life, under which the ridge alone ranks the held-out items best."""
    some = np.arange(0, len(window.judged), max(1, len(window.judged) // _CHOICE_USERS))
    only = config.candidates.model_copy(
        update={"als": 0, "visual": 0, "attributes": 0, "popularity": 0, "fresh": 0, "new": 0}
    )

    def judge(settings: Settings, side: ItemSide) -> float:
        found = describe(_users(window, window.judged[some], settings, config), side, only)
        judges = Judges.on(found, _is_chosen(found, window, len(side), some), window.ideal[some])
        return float(judges.ndcg(_one("ridge_recent")).mean())

    def side_of(regularization: float) -> ItemSide:
        entries = co_consumption(window.modelled, window.counts, config.neighbours, regularization)
        return _side(window, content, fixed, entries, config, None)

    sides = {r: side_of(r) for r in REGULARIZATIONS}
    start = Settings()
    best = max(REGULARIZATIONS, key=lambda r: judge(replace(start, regularization=r), sides[r]))
    chosen = replace(start, regularization=best)
    lasting = max(reversed(HALF_LIVES), key=lambda h: judge(replace(chosen, half_life=h), sides[best]))
    return replace(chosen, half_life=lasting)


def _side(
    window: Window,
    content: Content,
    fixed: Fixed,
    entries: dict[str, Entries],
    config: RecommendConfig,
    as_new: NDArray[np.bool_] | None,
) -> ItemSide:
    has = np.asarray(window.item_factors.any(axis=1))
    return item_side(
        content,
        fixed,
        window.train,
        entries,
        window.item_factors,
        has,
        window.predicted,
        config.half_life_days,
        as_new,
    )


def _users(window: Window, who: NDArray[np.int64], settings: Settings, config: RecommendConfig) -> Users:
    row = np.full(window.train.n_users, -1, dtype=np.int64)
    row[who] = np.arange(len(who))
    mine = row[window.train.user] >= 0
    factors = window.user_factors[who]
    return gather_users(
        factors,
        np.asarray(factors.any(axis=1)),
        row[window.train.user[mine]],
        window.train.item[mine],
        window.train.weight[mine],
        window.train.time[mine],
        keep=config.history,
        half_life=settings.half_life,
    )


def _is_chosen(
    candidates: Candidates, window: Window, n_items: int, some: NDArray[np.int64] | None = None
) -> NDArray[np.bool_]:
    """Whether each candidate is what its user chose in the validation window; `some`: the judged rows described."""
    user = candidates.user if some is None else some[candidates.user]
    return np.isin(user * n_items + candidates.item, window.chosen_row * n_items + window.chosen_item)


def _compared(name: str, blend: NDArray[np.float64], other: NDArray[np.float64]) -> Judged:
    difference = blend - other
    half = 1.96 * difference.std(ddof=1) / np.sqrt(len(difference))
    mean = float(difference.mean())
    return Judged(name, float(other.mean()), mean, mean - half, mean + half)
