"""Recommendations as they are answered: from the tables, from popularity, and for what somebody has just looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from vizrec_spark.config.models import BlendWeights
from vizrec_spark.serve.lists import PARTS, SOURCE_NAMES, Offers
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
    return [_popular(snapshot, int(item), weights.popularity) for item in snapshot.by_popularity[:k]]


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
    looks: dict[int, tuple[float, int]] = {}
    neighbors = snapshot.neighbors
    if neighbors is not None:
        for age, seen in enumerate(reversed(viewed)):
            where = neighbors.of(seen)
            where = slice(where.start, min(where.stop, where.start + _LOOK_ALIKES))
            strengths = neighbors.strength(where) * FADING**age
            for item, strength in zip(neighbors.item[where].tolist(), strengths.tolist(), strict=True):
                if strength > looks.get(item, (0.0, -1))[0]:
                    looks[item] = (strength, seen)
    largest = max((strength for strength, _ in looks.values()), default=0.0)
    best = max((row.score for row in known), default=1.0)
    unit = (best if best > 0 else 1.0) / max(weights.visual, weights.popularity, 1e-12)
    popular = unit * weights.popularity
    rows = {
        int(item): _popular(snapshot, int(item), popular)
        for item in snapshot.by_popularity[: k + len(viewed)]
    }
    rows |= {row.item: row for row in known}
    for item, (strength, seen) in looks.items():
        row = rows.get(item) or _popular(snapshot, item, popular)
        visual = unit * weights.visual * strength / largest
        if visual > row.parts[_VISUAL]:
            rows[item] = _looked_like(snapshot, row, visual, seen)
    for seen in viewed:
        rows.pop(seen, None)
    if (
        not looks
    ):  # nothing new to say: the list as stage `recommend` has ranked it, and what is popular behind it
        listed = {row.item for row in known}
        rest = [row for row in rows.values() if row.item not in listed]
        return [*(row for row in known if row.item in rows), *rest][:k]
    return sorted(rows.values(), key=lambda row: (-row.score, row.item))[:k]


def _looked_like(snapshot: Snapshot, row: Row, visual: float, seen: int) -> Row:
    """`row` with more from looks; its source and sentence change where looks add most now."""
    parts = tuple(visual if part == _VISUAL else value for part, value in enumerate(row.parts))
    if max(parts) > visual:
        return Row(row.item, parts, row.source, row.because, row.reason)
    sentence = reason("visual", 0, (snapshot.catalogue.title(seen), "view"))
    return Row(row.item, parts, _VISUAL, seen, sentence)


def _popular(snapshot: Snapshot, item: int, weight: float) -> Row:
    people = int(snapshot.people[item])
    most = int(snapshot.people[snapshot.by_popularity[0]])
    share = float(np.log1p(people) / np.log1p(most)) if most else 0.0
    parts = tuple(weight * share if part == _POPULARITY else 0.0 for part in range(len(PARTS)))
    return Row(item, parts, _POPULARITY, -1, reason("popularity", people, None))


def told(snapshot: Snapshot, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as JSON has them, with the items' facts and ranks from 1."""
    ids = snapshot.catalogue.ids
    return [
        {
            "rank": rank,
            **facts(snapshot, row.item),
            "score": round(row.score, 6),
            "parts": {part: round(value, 6) for part, value in zip(PARTS, row.parts, strict=True)},
            "source": SOURCE_NAMES[row.source],
            "because_item_id": None if row.because < 0 else ids[row.because],
            "reason": row.reason,
        }
        for rank, row in enumerate(rows, 1)
    ]


def facts(snapshot: Snapshot, item: int) -> dict[str, Any]:
    """The catalogue's facts of an item, and the content hash of its picture (null: none to show)."""
    has = snapshot.pictures.has(item)
    return {
        **snapshot.catalogue.facts(item),
        "picture": snapshot.pictures.content_hash(item) if has else None,
    }
