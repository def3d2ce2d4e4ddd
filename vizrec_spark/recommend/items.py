"""The item side of scoring as plain arrays: what every task needs to know about the catalogue."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from vizrec_spark.recommend.segments import Segments
from vizrec_spark.recommend.sources import LISTED


class Entries(NamedTuple):
    """The entries of one source in any order: `of` says `value` for `to` (positions)."""

    of: NDArray[np.int64]
    to: NDArray[np.int64]
    value: NDArray[np.float32]

    @classmethod
    def none(cls) -> Entries:
        """No entry."""
        nothing = np.zeros(0, dtype=np.int64)
        return cls(nothing, nothing, np.zeros(0, dtype=np.float32))


class Lists(NamedTuple):
    """For each item, what it says for others, under each of `sources.LISTED`.

    Under source s item i says `value[e]` for `item[e]`, e from ``start[i, s]`` to ``start[i, s + 1]``: all that an
    item says stands together, for it is read together. `start` (n, s + 1) int64, `item` int32, `value` float32.
    """

    start: NDArray[np.int64]
    item: NDArray[np.int32]
    value: NDArray[np.float32]

    def under(self, name: str) -> Entries:
        """The entries of one source, in order of the items that say them."""
        first, end = self.start[:, LISTED.index(name)], self.start[:, LISTED.index(name) + 1]
        counts = end - first
        of = np.repeat(np.arange(len(counts)), counts)
        at = np.arange(len(of)) + (first - np.cumsum(counts) + counts)[of]
        return Entries(of, self.item[at].astype(np.int64), self.value[at])


class Pool(NamedTuple):
    """Some of n items with their factors: `position` (m,) ascending, `place` (n,) of each item among them, -1 for
    others, `factors` (m, rank) float32."""

    position: NDArray[np.int64]
    place: NDArray[np.int64]
    factors: NDArray[np.float32]


@dataclass(frozen=True)
class ItemSide:
    """n items, in ascending order of `ids`; an item is known below by its position (0 to n − 1).

    `titles` (n,) str; `people` (n,) int64: distinct users who like it; `factors` (n, rank) float32 and
    `has_factors` (n,) bool; `modelled` (n,) bool: its factors are the ALS model's, where others come from content;
    `is_new` (n,) bool: nobody has met it, and something is known of its content; `lists`: see `Lists`;
    `attributes` (n, a) float32: unit rows, so that a dot product is a likeness;
    `standing` (n, 4) float32: popularity, trend, freshness, new (see `sources.FEATURES`); `by_freshness`: positions
    of items of known age, newest first; `looks` (n, l) float32: unit rows of centred picture features, zero without a
    picture; `group` (n,) int64: equal for near-duplicates; `category` (n,) int64: its first category, -1 without;
    `allowed` (n,) bool; `boost` (n,) float32, added to the score; `segments`: see `Segments`. Size is about
    n · (4 · (rank + a + l) + 12 · neighbours + 8 · groups + 150) bytes, and what is worked out from it once a process,
    the cached properties, about n · (8 · rank + 16 · groups + 150).
    """

    ids: NDArray[np.object_]
    titles: NDArray[np.object_]
    people: NDArray[np.int64]
    factors: NDArray[np.float32]
    has_factors: NDArray[np.bool_]
    modelled: NDArray[np.bool_]
    is_new: NDArray[np.bool_]
    lists: Lists
    attributes: NDArray[np.float32]
    standing: NDArray[np.float32]
    by_freshness: NDArray[np.int64]
    looks: NDArray[np.float32]
    group: NDArray[np.int64]
    category: NDArray[np.int64]
    allowed: NDArray[np.bool_]
    boost: NDArray[np.float32]
    segments: Segments

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        """The fields: what is worked out from them, each process works out for itself."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.ids)

    def positions(self, ids: NDArray[np.object_]) -> NDArray[np.int64]:
        """Positions of item ids; -1 for one that is not in the catalogue."""
        return np.asarray(self._index.get_indexer(pd.Index(ids, dtype=object)), dtype=np.int64)

    @cached_property
    def arrow_ids(self) -> pa.Array:
        """`ids` as an Arrow array."""
        return pa.array(self.ids, pa.string())

    @cached_property
    def arrow_titles(self) -> pa.Array:
        """`titles` as an Arrow array."""
        return pa.array(self.titles, pa.string())

    @cached_property
    def turned(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Factors (n, rank) in the axes of YᵀY of the modelled items, and its eigenvalues (rank,)."""
        known = self.factors[self.modelled].astype(np.float64)
        spread, axes = np.linalg.eigh(known.T @ known)
        return (self.factors.astype(np.float64) @ axes).astype(np.float32), np.maximum(spread, 0.0)

    @cached_property
    def warm(self) -> Pool:
        """What may be offered for its factors and is not new."""
        return self._pool(self.allowed & self.has_factors & ~self.is_new)

    @cached_property
    def new(self) -> Pool:
        """What may be offered for its factors and is new."""
        return self._pool(self.allowed & self.has_factors & self.is_new)

    @cached_property
    def new_by_age(self) -> NDArray[np.int64]:
        """Positions of the pool `new`: those added last first, then those of unknown age."""
        dated = self.by_freshness[np.isin(self.by_freshness, self.new.position)]
        return np.concatenate([dated, self.new.position[~np.isin(self.new.position, dated)]])

    def _pool(self, members: NDArray[np.bool_]) -> Pool:
        position = np.flatnonzero(members)
        place = np.where(members, np.cumsum(members) - 1, -1)
        return Pool(position, place, self.factors if members.all() else self.factors[position])

    @cached_property
    def by_popularity(self) -> NDArray[np.int64]:
        """Positions, most popular first, ties in order of id."""
        return np.argsort(-self.people, kind="stable")

    @cached_property
    def by_segment(self) -> NDArray[np.int64]:
        """The same for each of `segments` (s, n)."""
        return np.argsort(-self.segments.standing[:, :, 0], axis=1, kind="stable")

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """Each item's place (from 0) by popularity in each of `segments`, and last in all together (s + 1, n)."""
        orders = np.vstack([self.by_segment, self.by_popularity])
        places = np.empty_like(orders)
        np.put_along_axis(places, orders, np.arange(len(self))[None, :], axis=1)
        return places


def stacked(entries: dict[str, Entries], n: int) -> Lists:
    """`Lists` of the entries of each source (`sources.LISTED`); under a source in order of position."""
    held = [entries.get(name, Entries.none()) for name in LISTED]
    of, to, value = (np.concatenate(column) for column in zip(*held, strict=True))
    source = np.repeat(np.arange(len(held)), [len(one.of) for one in held])
    under = of * len(held) + source
    order = np.argsort(under * n + to, kind="stable")
    ends = np.cumsum(np.bincount(under, minlength=n * len(held))).reshape(n, len(held))
    start = np.column_stack([np.concatenate([[0], ends[:-1, -1]])[:n], ends])
    return Lists(start.astype(np.int64), to[order].astype(np.int32), value[order].astype(np.float32))


def strength(cosine: NDArray[np.float32], mean_cosine: float) -> NDArray[np.float32]:
    """Likeness measured from that of a random pair: max(0, (cosine − mean) / (1 − mean)), 0 to 1.

    Features of a CNN share a large mean, which says nothing about looks.
    """
    risen = (cosine - mean_cosine) / max(1.0 - mean_cosine, 1e-6)
    return np.asarray(np.clip(risen, 0.0, 1.0), dtype=np.float32)
