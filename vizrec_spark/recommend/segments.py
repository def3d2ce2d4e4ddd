"""What is popular in a group of users, for those of it who have done nothing yet."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

_MOST, _CELLS = 1_000, 2_000_000
_PRIORS = (10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 100_000.0, np.inf)


class Segments(NamedTuple):
    """s groups by `names` (s,) str, ascending: `standing` (s, n, 2) float32 holds the features `popularity` and `trend`
    of n items as they are in each."""

    names: NDArray[np.object_]
    standing: NDArray[np.float32]

    @classmethod
    def none(cls, n: int) -> Segments:
        """No group."""
        return cls(np.zeros(0, dtype=object), np.zeros((0, n, 2), dtype=np.float32))

    def positions(self, names: pa.Array) -> NDArray[np.int64]:
        """The group of each name; -1 for null and for one that is none of these."""
        found = pc.index_in(names, value_set=pa.array(self.names, pa.string()))
        return np.asarray(found.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)


def gather_segments(
    segments: DataFrame, touched: DataFrame, item_ids: pa.Array, last: float, half_life: float
) -> Segments:
    """The 1,000 largest groups of `segments` (user_id, segment), or as many as groups · items are at most two million.

    `touched`: see `history.touched_pairs`; `last` (seconds): when the log ends; `half_life` (seconds): of trends.
    """
    n = len(item_ids)
    sizes = segments.groupBy("segment").count().orderBy(F.desc("count"), "segment")
    names = sorted(row.segment for row in sizes.limit(min(_MOST, _CELLS // max(n, 1))).collect())
    if not names:
        return Segments.none(n)
    kept = segments.sparkSession.createDataFrame([(name,) for name in names], "segment string")
    liked = touched.where("weight > 0")
    aged = F.pow(F.lit(2.0), -F.greatest(F.lit(last) - F.col("time"), F.lit(0.0)) / half_life)
    counts = (
        liked.join(segments.join(F.broadcast(kept), "segment", "left_semi"), "user_id")
        .groupBy("segment", "item_id")
        # Decimals add up the same in any order.
        .agg(
            F.count(F.lit(1)).alias("people"),
            F.sum(aged.cast("decimal(28,15)")).cast("double").alias("trend"),
        )
        .toArrow()
    )
    group = np.searchsorted(np.array(names, dtype=object), counts["segment"].to_numpy())
    item = pc.index_in(counts["item_id"], value_set=item_ids).fill_null(-1).to_numpy()
    there = item >= 0
    standing = np.zeros((len(names), n, 2))
    for column, name in enumerate(("people", "trend")):
        standing[group[there], item[there], column] = counts[name].to_numpy()[there]
    return Segments(np.array(names, dtype=object), standing.astype(np.float32))


def standing_of(counted: Segments, people: NDArray[np.float64], trend: NDArray[np.float64]) -> Segments:
    """Counts in groups as features, on the scale of those of all users (`people`, `trend`: (n,)), which the weights
    were learned on.

    With n_i of L likes of all users on item i and n_gi of L_g in group g, the group's share of item i is estimated as
    (n_gi + κ n_i / L) / (L_g + κ): what all like, moved by what the group likes (Dirichlet prior). The strength κ is
    that under which each like is foretold best by all others of its group (leave-one-out likelihood), and may be
    infinite: then groups do not differ. The features are log(1 + L · share); trends likewise, with aged counts and the
    same κ.
    """
    if not len(counted.names):
        return counted
    likes = counted.standing[:, :, 0].astype(np.float64)
    strength = max(_PRIORS, key=lambda prior: _foretold(likes, people, prior))
    made = np.empty_like(counted.standing)
    for column, total in enumerate((people, trend)):
        own = counted.standing[:, :, column].astype(np.float64)
        everyone = max(total.sum(), 1e-12)
        if np.isinf(strength):
            share = np.broadcast_to(total / everyone, own.shape)
        else:
            # As much prior for a trend as its likes are worth on average.
            prior = strength * everyone / max(people.sum(), 1e-12)
            share = (own + prior * total / everyone) / (own.sum(axis=1, keepdims=True) + prior)
        made[:, :, column] = np.log1p(everyone * share)
    return counted._replace(standing=made)


def _foretold(likes: NDArray[np.float64], people: NDArray[np.float64], prior: float) -> float:
    """Log likelihood of each like from all other likes of its group; half a like is added to what all like."""
    total, n = float(people.sum()), likes.shape[1]
    usual = np.maximum(people - 0.5, 0.5) / (total - 1.0 + n / 2.0)
    group, item = np.nonzero(likes)
    own, size = likes[group, item], likes.sum(axis=1)[group]
    chance = usual[item] if np.isinf(prior) else (own - 1.0 + prior * usual[item]) / (size - 1.0 + prior)
    return float((own * np.log(chance)).sum())
