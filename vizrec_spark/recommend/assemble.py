"""From log, content and factors to the item side of scoring."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.kernels.cooccurrence import cooccurrences, neighbourhoods
from vizrec_spark.recommend.content import Content, likeness_of, looks_unit, nearest_by_attributes
from vizrec_spark.recommend.items import Entries, ItemSide, stacked
from vizrec_spark.recommend.log import Log, present, rows_of
from vizrec_spark.recommend.segments import Segments

_DAY = 86_400.0
_FRESH_DAYS = 30.0
_MODELLED_ITEMS = 12_000
_USER_ITEMS = 200


@dataclass(frozen=True)
class Settings:
    """What is chosen on the validation window: `half_life` of recency in entries, ridge `regularization`."""

    half_life: float = 16.0
    regularization: float = 100.0


@dataclass(frozen=True)
class Fixed:
    """What of the item side does not depend on the log, worked out once; `near`: alike in `attributes`."""

    attributes: NDArray[np.float32]
    near: Entries
    looks: NDArray[np.float32]


def fixed_side(content: Content) -> Fixed:
    """`Fixed` of `content`."""
    likeness = likeness_of(content)
    return Fixed(likeness, nearest_by_attributes(likeness), looks_unit(content))


def counts_of(log: Log) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The items that co-consumption is modelled for, the `_MODELLED_ITEMS` most liked (ascending positions), and
    their co-occurrence counts.

    At most `_USER_ITEMS` items a user count, the latest, so that a robot cannot dominate; memory is
    4 · `_MODELLED_ITEMS`² = 0.6 GB at most.
    """
    liked = log.where(log.weight > 0)
    people = np.bincount(liked.item, minlength=log.n_items)
    chosen = np.sort(np.argsort(-people, kind="stable")[: min(_MODELLED_ITEMS, int((people > 0).sum()))])
    place = np.full(log.n_items, -1, dtype=np.int64)
    place[chosen] = np.arange(len(chosen))
    order = np.lexsort((liked.item, -liked.time, liked.user))
    rank = np.arange(len(order)) - np.searchsorted(liked.user[order], liked.user[order], side="left")
    order = order[(rank < _USER_ITEMS) & (place[liked.item[order]] >= 0)]
    indptr, items, _ = rows_of(liked.user[order], place[liked.item[order]], log.n_users)
    return chosen, cooccurrences(indptr, items, len(chosen))


def co_consumption(
    chosen: NDArray[np.int64], counts: NDArray[np.float32], neighbours: int, regularization: float
) -> dict[str, Entries]:
    """Entries of `ridge` and `cosine`: what each item in a history says for others."""
    near = neighbourhoods(counts, neighbours, regularization)
    kept = near.items >= 0
    of = chosen[near.items[kept]]
    to = np.repeat(chosen, kept.sum(axis=1))
    return {"ridge": Entries(of, to, near.ridge[kept]), "cosine": Entries(of, to, near.cosine[kept])}


def item_side(
    content: Content,
    fixed: Fixed,
    log: Log,
    entries: dict[str, Entries],
    factors: NDArray[np.float32],
    has_factors: NDArray[np.bool_],
    predicted: NDArray[np.float64] | None,
    trend_half_life_days: float,
    as_new: NDArray[np.bool_] | None = None,
    met: NDArray[np.bool_] | None = None,
) -> ItemSide:
    """The item side. `predicted`: factors from content for items without (`content.factors_from_content`).

    `met`: the items that anybody did anything with, be it to dislike them; None: those of `log`.
    Items for which `as_new` holds are shown as if nobody had met them: that is how the blend learns what a new item
    is worth.
    """
    n = len(content)
    liked = log.where(log.weight > 0)
    people = np.bincount(liked.item, minlength=n).astype(np.int64)
    met = np.bincount(log.item, minlength=n) > 0 if met is None else met
    last = present(log)
    aged = np.exp2(-np.maximum(last - liked.time, 0.0) / (_DAY * trend_half_life_days))
    trend = np.bincount(liked.item, weights=aged, minlength=n)
    age = np.maximum(last - content.added, 0.0) / _DAY
    freshness = np.nan_to_num(np.exp2(-age / _FRESH_DAYS), nan=0.0)
    known = content.known() if predicted is not None else np.zeros(n, dtype=bool)
    hidden = np.zeros(n, dtype=bool) if as_new is None else as_new
    is_new = ((~met & ~has_factors) | hidden) & known
    # What new items are worth is learned from old ones that are shown as new: age must not tell the two apart.
    freshness[is_new] = 0.0
    modelled = has_factors & ~is_new
    made = np.where(has_factors[:, None], factors, np.float32(0.0)).astype(np.float32)
    if predicted is not None:
        made[known & ~modelled] = predicted[known & ~modelled].astype(np.float32)
    people[hidden], trend[hidden] = 0, 0.0
    if as_new is not None:
        entries = {
            name: Entries(*(column[~hidden[source.to]] for column in source))
            for name, source in entries.items()
        }
    dated = np.flatnonzero(np.isfinite(content.added))
    standing = np.column_stack([np.log1p(people), np.log1p(trend), freshness, is_new]).astype(np.float32)
    return ItemSide(
        content.ids,
        content.titles,
        people,
        made,
        has_factors | known,
        modelled,
        is_new,
        stacked({**entries, "looks": content.alike, "attributes": fixed.near}, n),
        fixed.attributes,
        standing,
        dated[np.argsort(-content.added[dated], kind="stable")],
        fixed.looks,
        content.group,
        content.category,
        content.allowed,
        content.boost,
        Segments.none(n),
    )
