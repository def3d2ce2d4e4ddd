"""Recommendations as they are answered: from the tables, from popularity, and for what somebody has just looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.config.models import BlendWeights
from vizrec_spark.serve.lists import PARTS, SOURCE_NAMES, Offers
from vizrec_spark.serve.looks import best_of
from vizrec_spark.serve.snapshot import Snapshot
from vizrec_spark.wording import reason

FADING: Final = 0.85
"""What a look of a session counts less than the one after it."""

_LOOK_ALIKES: Final = 200
"""Most look-alikes of one item that a session's list is made from: the list is made while others wait."""

_POPULARITY: Final = SOURCE_NAMES.index("popularity")
_VISUAL: Final = SOURCE_NAMES.index("visual")


class Row(NamedTuple):
    """An item that is offered: positions of the item and of the one that caused it (−1: none), what each of `PARTS`
    adds to the score, the number of its source in `SOURCE_NAMES`, and the sentence."""

    item: int
    parts: tuple[float, ...]
    source: int
    because: int
    reason: str

    @property
    def score(self) -> float:
        """The sum of the parts."""
        return sum(self.parts)


ListSource = Callable[[Snapshot, str | None, int, BlendWeights], list[Row] | None]
"""At most k rows for a user id (None: nobody known), best first; None where the source knows nothing of them."""


def batch_rows(snapshot: Snapshot, user_id: str | None, k: int, weights: BlendWeights) -> list[Row] | None:
    """What stage `recommend` wrote for the user."""
    offers = snapshot.offers
    rows = None if offers is None or user_id is None else offers.of(user_id)
    return None if offers is None or rows is None else _listed(offers, rows, k)


def live_rows(snapshot: Snapshot, user_id: str | None, k: int, weights: BlendWeights) -> list[Row] | None:
    """What stage `stream` wrote for the user, while it counts."""
    live = snapshot.live
    rows = None if live is None or user_id is None else live.of(user_id, time.time(), snapshot.batch_at)
    return None if live is None or rows is None else _listed(live.offers, rows, k)


def _listed(offers: Offers, rows: range, k: int) -> list[Row]:
    where = slice(rows.start, min(rows.stop, rows.start + k))
    columns = (offers.item, offers.parts, offers.source, offers.because, offers.reason)
    listed = zip(*(column[where].tolist() for column in columns), strict=True)
    return [
        Row(item, tuple(parts), source, because, offers.reasons[sentence])
        for item, parts, source, because, sentence in listed
    ]


def popular_rows(snapshot: Snapshot, user_id: str | None, k: int, weights: BlendWeights) -> list[Row] | None:
    """What most people like: the same for everybody."""
    return [_popular(snapshot, item, weights.popularity) for item in snapshot.by_popularity[:k].tolist()]


LIST_SOURCES: Final[Mapping[str, ListSource]] = {
    "live": live_rows,
    "batch": batch_rows,
    "popular": popular_rows,
}
"""By name, in the order in which they are asked; the last one always has an answer."""


def rows_for(
    snapshot: Snapshot, user_id: str | None, k: int, weights: BlendWeights, asked: str | None = None
) -> tuple[str, list[Row]]:
    """The source that answers, and its rows: the first that knows the user, or the one that is asked for."""
    for name, source in LIST_SOURCES.items():
        if asked in (None, name) and (rows := source(snapshot, user_id, k, weights)) is not None:
            return name, rows
    return str(asked), []


def made(snapshot: Snapshot, user_id: str | None, source: str) -> float | None:
    """When the list that `source` has for the user was made, in seconds since 1970; None where it is made only now.
    Of a live list whether it counts or not: ask of one that was answered."""
    if source == "live" and snapshot.live is not None and user_id is not None:
        return snapshot.live.made(user_id)
    return snapshot.batch_at if source == "batch" and snapshot.batch_at > 0 else None


def latest_users(snapshot: Snapshot, most: int) -> list[str]:
    """At most `most` (and `lists.LATEST`) users whose live lists count, the newest list first."""
    live, now = snapshot.live, time.time()
    if live is None:
        return []
    names = (live.offers.users[at] for at in live.by_age.tolist())
    return list(islice((name for name in names if live.of(name, now, snapshot.batch_at) is not None), most))


def known_rows(snapshot: Snapshot, user_id: str | None, k: int, weights: BlendWeights) -> list[Row]:
    """The rows of the first source that knows the user by name; none where there is none."""
    name, rows = rows_for(snapshot, user_id, k, weights)
    return [] if name == "popular" else rows


def session_rows(
    snapshot: Snapshot, known: Sequence[Row], viewed: Sequence[int], k: int, weights: BlendWeights
) -> list[Row]:
    """A list for somebody who has just looked at `viewed` (positions, the latest last), of whom `known` is known.

    Candidates are the rows `known`, the look-alikes of what was viewed, and what is popular; not what was viewed. Looks
    add w · max over the viewed h of influence(h) · strength(h, c), over the largest of all c; to an item that is not
    `known` popularity adds w · log(1 + people) over the catalogue's largest. The influence of the latest look is 1, and
    of each before it `FADING` of the next. The w are `weights` on the scale of the list `known`: the larger of the two
    is its best score (1 without a list), so that the strongest look-alike of what is being looked at stands beside the
    best of what is known. Where a row of `known` has more from looks already, it keeps that; its other parts stay.
    """
    looks = _looks(snapshot, viewed)
    own = {row.item: row for row in known}
    best = max((row.score for row in known), default=1.0)
    unit = (best if best > 0 else 1.0) / max(weights.visual, weights.popularity, 1e-12)
    popular = snapshot.by_popularity[: k + len(viewed)]
    if not len(looks.item):
        # Nothing new to say: the list as stage `recommend` has ranked it, and what is popular behind it.
        shown = [row for row in known if row.item not in viewed]
        rest = [item for item in popular.tolist() if item not in own and item not in viewed]
        more = [
            _popular(snapshot, item, unit * weights.popularity) for item in rest[: max(0, k - len(shown))]
        ]
        return [*shown, *more][:k]
    added = unit * weights.visual * looks.strength / looks.strength.max()
    out = np.array(sorted({*viewed, *own}), dtype=np.int64)
    alike = np.flatnonzero((added > 0.0) & (_found(out, looks.item) < 0))
    plain = popular[(_found(looks.item[alike], popular) < 0) & (_found(out, popular) < 0)]
    item = np.concatenate([looks.item[alike], plain])
    # Where the look-alikes among them stand; −1 for what is popular alone.
    like = np.concatenate([alike, np.full(len(plain), -1)])
    visual = np.concatenate([added[alike], np.zeros(len(plain))])
    share = unit * weights.popularity * _shares(snapshot, item)
    score = visual + share
    # Of thousands k are shown: a row, and its sentence, is made for these alone.
    chosen = best_of(score, item, k)
    rows = [
        _row(snapshot, int(item[at]), float(share[at]), float(visual[at]), int(looks.seen[like[at]]))
        for at in chosen.tolist()
    ]
    for at, row in zip(
        _found(looks.item, np.array([*own], dtype=np.int64)).tolist(), own.values(), strict=True
    ):
        if row.item not in viewed:
            more_now = at >= 0 and added[at] > row.parts[_VISUAL]
            rows.append(
                _looked_like(snapshot, row, float(added[at]), int(looks.seen[at])) if more_now else row
            )
    return sorted(rows, key=lambda row: (-row.score, row.item))[:k]


class _Looks(NamedTuple):
    """Look-alikes in ascending order of item: the item, its largest strength, and the viewed item that has it."""

    item: NDArray[np.int64]
    strength: NDArray[np.float64]
    seen: NDArray[np.int64]


def _looks(snapshot: Snapshot, viewed: Sequence[int]) -> _Looks:
    """The look-alikes of `viewed` (the latest last), each with its largest influence(h) · strength(h, c); of several h
    that have it the latest."""
    neighbors = snapshot.neighbors
    if neighbors is None or not viewed:
        nothing = np.zeros(0, dtype=np.int64)
        return _Looks(nothing, np.zeros(0), nothing)
    seen = np.array(viewed[::-1], dtype=np.int64)
    start = neighbors.start[seen]
    count = np.minimum(neighbors.start[seen + 1] - start, _LOOK_ALIKES)
    age = np.repeat(np.arange(len(seen)), count)
    where = np.arange(len(age)) + np.repeat(start - (np.cumsum(count) - count), count)
    # Powers of one number at a time, then looked up: those of an array need not be the same to the last bit.
    influence = np.array([FADING**n for n in range(len(seen))])[age]
    item, strength = neighbors.item[where].astype(np.int64), neighbors.strength(where) * influence
    order = np.lexsort(
        (-strength, item)
    )  # which leaves those that are equal as they stand, the latest look first
    order = order[strength[order] > 0.0]
    order = order[np.diff(item[order], prepend=-1) != 0]
    return _Looks(item[order], strength[order], seen[age[order]])


def _found(ordered: NDArray[np.int64], asked: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of `asked` stands in `ordered` (ascending); −1 for one that is not there."""
    if not len(ordered):
        return np.full(len(asked), -1)
    at = np.minimum(np.searchsorted(ordered, asked), len(ordered) - 1)
    return np.where(ordered[at] == asked, at, -1)


def _row(snapshot: Snapshot, item: int, share: float, visual: float, seen: int) -> Row:
    """The row of an item that only popularity and, if more than 0, the look at `seen` speak for."""
    parts = [0.0] * len(PARTS)
    parts[_POPULARITY] = share
    row = Row(item, tuple(parts), _POPULARITY, -1, "")
    if visual > 0.0:
        row = _looked_like(snapshot, row, visual, seen)
    return row if row.reason else row._replace(reason=_popularity(snapshot, item))


def _looked_like(snapshot: Snapshot, row: Row, visual: float, seen: int) -> Row:
    """`row` with more from looks; its source and sentence change where looks add most now."""
    parts = tuple(visual if part == _VISUAL else value for part, value in enumerate(row.parts))
    if max(parts) > visual:
        return row._replace(parts=parts)
    sentence = reason("visual", 0, (snapshot.catalogue.title(seen), "view"))
    return Row(row.item, parts, _VISUAL, seen, sentence)


def _popular(snapshot: Snapshot, item: int, weight: float) -> Row:
    share = weight * float(_shares(snapshot, np.array([item]))[0])
    return _row(snapshot, item, share, 0.0, -1)


def _shares(snapshot: Snapshot, item: NDArray[np.int64]) -> NDArray[np.float64]:
    """log(1 + people) of each item over the catalogue's largest; 0 where nobody likes anything."""
    most = int(snapshot.people[snapshot.by_popularity[0]])
    logs: NDArray[np.float64] = np.log1p(snapshot.people[item])
    return logs / np.log1p(most) if most else np.zeros(len(item))


def _popularity(snapshot: Snapshot, item: int) -> str:
    return reason("popularity", int(snapshot.people[item]), None)


def told(snapshot: Snapshot, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as JSON has them, with the items' facts and ranks from 1."""
    ids = snapshot.catalogue.ids
    rounded = np.round([(row.score, *row.parts) for row in rows], 6).tolist()
    return [
        {
            "rank": rank,
            **facts(snapshot, row.item),
            "score": score,
            "parts": dict(zip(PARTS, parts, strict=True)),
            "source": SOURCE_NAMES[row.source],
            "because_item_id": None if row.because < 0 else ids[row.because],
            "reason": row.reason,
        }
        for rank, (row, (score, *parts)) in enumerate(zip(rows, rounded, strict=True), 1)
    ]


def facts(snapshot: Snapshot, item: int) -> dict[str, Any]:
    """The catalogue's facts of an item, and the content hash of its picture (null: none to show)."""
    has = snapshot.pictures.has(item)
    return {
        **snapshot.catalogue.facts(item),
        "picture": snapshot.pictures.content_hash(item) if has else None,
    }
