"""Events of some users to one row a user, in arrays: what `recommend.history` and `retrieval.preferences` say in Spark.

Their plans cost seconds whatever they are about; a test compares the two.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vizrec_spark.config.models import AlsConfig, RerankConfig
from vizrec_spark.retrieval.preferences import Whole

_DAY = 86_400.0
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Rows(NamedTuple):
    """m events, each key once, in order of user, item, event and time: numbers of texts that stand in order in
    `names`; `rating` is NaN where there is none, `time` in microseconds."""

    user: Ints
    item: Ints
    event: Ints
    rating: Floats
    weight: Floats
    time: Ints
    names: tuple[pa.Array, pa.Array, pa.Array]

    @property
    def pair(self) -> Ints:
        """Where each pair of a user and an item begins."""
        return _changes(self.user, self.item)


def rows_of(said: pa.Table, streamed: pa.Table, within: float = 0.0) -> Rows:
    """`said` by the log and `streamed` (columns of `interactions`), each key once.

    Where both have an event, it is as the log says: they are one where their times, cut to multiples of `within`
    seconds (0: microseconds), are equal, for a log may have whole seconds only.
    """
    both = pa.concat_tables([said, streamed.cast(said.schema)])
    coded = [_numbered(both[name]) for name in ("user_id", "item_id", "event")]
    user, item, event = (numbers for numbers, _ in coded)
    time = pc.cast(pc.cast(both["timestamp"], pa.timestamp("us", "UTC")), pa.int64()).to_numpy()
    live = np.arange(len(both)) >= len(said)
    moment = time // microseconds(within)
    order = np.lexsort((time, live, moment, event, item, user))
    first = _changes(user[order], item[order], event[order], moment[order])
    logged = np.repeat(~live[order][first], np.diff(np.append(first, len(order))))
    new = np.zeros(len(order), dtype=bool)
    new[_changes(user[order], item[order], event[order], time[order])] = True
    order = order[new & ~(live[order] & logged)]
    rating = pc.fill_null(pc.cast(both["rating"], pa.float64()), np.nan).to_numpy()
    return Rows(
        user[order],
        item[order],
        event[order],
        rating[order],
        both["weight"].to_numpy()[order],
        time[order],
        (coded[0][1], coded[1][1], coded[2][1]),
    )


def microseconds(seconds: float) -> int:
    """At least one."""
    return max(1, round(seconds * 1e6))


def user_rows(rows: Rows, rerank: RerankConfig, als: AlsConfig, whole: Whole) -> pa.Table:
    """One row a user, in order of the id: `user_id`, `history` (see `recommend.history.user_rows`) and `liked` (see
    `retrieval.fold_in.preference_lists`; empty where nothing is)."""
    first = rows.pair
    user, item = rows.user[first], rows.item[first]
    disliked = _disliked(rows)
    likes = np.where(disliked, 0.0, np.add.reduceat(rows.weight, first))
    history = pa.StructArray.from_arrays(
        [
            rows.names[1].take(pa.array(item)),
            rows.names[2].take(pa.array(rows.event[_last(rows, rows.weight, rows.event)])),
            pa.array(likes),
            pa.array(np.maximum.reduceat(rows.time, first) / 1e6),
            pa.array(_barred(rows, likes, rerank)),
        ],
        ["item_id", "event", "weight", "time", "barred"],
    )
    n = len(rows.names[0])
    value = _preference(rows, disliked, als, whole)
    held = np.isfinite(value) if als.preference == "explicit" else value > 0
    if whole.most is not None:
        held &= (np.log(np.bincount(rows.user, minlength=n)) <= whole.most)[user]
    liked = pa.StructArray.from_arrays(
        [rows.names[1].take(pa.array(item[held])), pa.array(value[held].astype(np.float32))],
        ["id", "preference"],
    )
    return pa.table(
        {
            "user_id": rows.names[0],
            "history": pa.ListArray.from_arrays(_bounds(user, n), history),
            "liked": pa.ListArray.from_arrays(_bounds(user[held], n), liked),
        }
    )


def _preference(rows: Rows, disliked: NDArray[np.bool_], als: AlsConfig, whole: Whole) -> Floats:
    """See `retrieval.preferences.preferences`; NaN for a pair without a rating under an explicit model."""
    if als.preference == "explicit":
        value = np.full(len(rows.pair), np.nan)
        at, pair = _latest_rated(rows)
        value[pair] = rows.rating[at]
        return value
    own = [als.events.get(name, np.nan) for name in rows.names[2].to_pylist()]
    named = np.array(own, dtype=np.float64)[rows.event]
    weight = np.where(rows.weight == 0, 0.0, np.where(np.isnan(named), rows.weight, named))
    if als.half_life_days is not None and whole.present is not None:
        age = np.maximum(whole.present - rows.time / 1e6, 0.0) / _DAY
        weight = np.where(weight > 0, np.maximum(weight * np.exp2(-age / als.half_life_days), 1e-12), weight)
    total = np.where(disliked, 0.0, np.add.reduceat(weight, rows.pair))
    return np.minimum(total, als.max_weight)


def _disliked(rows: Rows) -> NDArray[np.bool_]:
    """Pairs whose latest rating is a low one (weight 0): see `tables.liking`."""
    found = np.zeros(len(rows.pair), dtype=bool)
    at, pair = _latest_rated(rows)
    found[pair] = rows.weight[at] == 0
    return found


def _latest_rated(rows: Rows) -> tuple[Ints, Ints]:
    """The row of the latest rating of each pair that has one, and the number of the pair."""
    pair = _number(rows)
    rated = np.flatnonzero(~np.isnan(rows.rating))
    order = rated[np.lexsort((rows.event[rated], rows.time[rated], pair[rated]))]
    last = np.flatnonzero(np.append(pair[order][1:] != pair[order][:-1], True)) if len(order) else order
    return order[last], pair[order[last]]


def _barred(rows: Rows, likes: Floats, rerank: RerankConfig) -> NDArray[np.bool_]:
    if rerank.already == "leave_out":
        return np.ones(len(likes), dtype=bool)
    barred = likes == 0
    if rerank.already == "leave_out_bought":
        bought = np.isin(rows.names[2].to_numpy(zero_copy_only=False), list(rerank.bought))
        barred |= np.logical_or.reduceat(bought[rows.event], rows.pair)
    return barred


def _last(rows: Rows, by: Floats, then: Ints) -> Ints:
    """The row of each pair with the largest `by`, of equal ones with the largest `then`."""
    pair = _number(rows)
    order = np.lexsort((then, by, pair))
    return order[np.append(rows.pair[1:], len(order)) - 1]


def _number(rows: Rows) -> Ints:
    first = np.zeros(len(rows.user), dtype=np.int64)
    first[rows.pair[1:]] = 1
    return np.cumsum(first)


def _numbered(column: pa.ChunkedArray) -> tuple[Ints, pa.Array]:
    """Each text as its place among the distinct ones in ascending order, and those."""
    coded = pc.dictionary_encode(column.combine_chunks())
    order = pc.sort_indices(coded.dictionary)
    place = np.empty(len(order), dtype=np.int64)
    place[order.to_numpy()] = np.arange(len(order))
    return place[coded.indices.to_numpy()], coded.dictionary.take(order)


def _changes(*columns: Ints) -> Ints:
    """Where one of the columns, ordered together, is another than in the row before; 0 first."""
    new = np.zeros(len(columns[0]), dtype=bool)
    new[:1] = True
    for column in columns:
        new[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(new)


def _bounds(user: Ints, n: int) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(np.bincount(user, minlength=n))]).astype(np.int32))
