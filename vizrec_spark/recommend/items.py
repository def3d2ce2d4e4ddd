"""The item side of scoring as plain arrays: what every task needs to know about the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


@dataclass(frozen=True)
class ItemSide:
    """n items, in ascending order of `ids`; an item is known below by its position (0 to n − 1).

    `titles` (n,) str; `people` (n,) int64: distinct users who like it; `factors` (n, rank) float32 and
    `has_factors` (n,) bool; look-alikes of item i: `neighbors[start[i]:start[i + 1]]` (positions) with
    `strength` (float32 in 0 to 1) beside them. Its size is about n · (4 · rank + 8 · k + 100) bytes.
    """

    ids: NDArray[np.object_]
    titles: NDArray[np.object_]
    people: NDArray[np.int64]
    factors: NDArray[np.float32]
    has_factors: NDArray[np.bool_]
    start: NDArray[np.int64]
    neighbors: NDArray[np.int32]
    strength: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.ids)

    def positions(self, ids: NDArray[np.object_]) -> NDArray[np.int64]:
        """Positions of item ids; -1 for one that is not in the catalogue."""
        return np.asarray(self._index.get_indexer(pd.Index(ids, dtype=object)), dtype=np.int64)

    @cached_property
    def popularity(self) -> NDArray[np.float64]:
        """log(1 + people), scaled to 0 to 1."""
        logged = np.log1p(self.people)
        return np.asarray(logged / max(float(logged.max(initial=0.0)), 1e-12))

    @cached_property
    def by_popularity(self) -> NDArray[np.int64]:
        """Positions, most popular first, ties in order of id."""
        return np.argsort(-self.people, kind="stable")


def build_item_side(
    items: pa.Table, people: pa.Table, item_factors: pa.Table, neighbors: pa.Table, mean_cosine: float
) -> ItemSide:
    """`ItemSide` from Arrow tables.

    `items` (item_id, title), `people` (item_id, people), `item_factors` (item_id, factors), `neighbors`
    (item_id, neighbor_id, cosine). Strength is the cosine measured from that of a random pair, `mean_cosine`:
    max(0, (cosine − mean) / (1 − mean)); features of a CNN share a large mean, which says nothing about looks.
    Factors and neighbours of items that left the catalogue are ignored.
    """
    ordered = items.sort_by("item_id")
    ids = ordered["item_id"].to_numpy(zero_copy_only=False).astype(object)
    titles = ordered["title"].to_numpy(zero_copy_only=False).astype(object)
    titles = np.where(pd.isna(titles), ids, titles)
    n = len(ids)
    known = ordered["item_id"].combine_chunks()

    def positions(table: pa.Table, name: str) -> NDArray[np.int64]:
        # In Arrow, so that millions of neighbour rows never become Python strings.
        found = pc.fill_null(pc.index_in(table[name], value_set=known), -1)
        return np.asarray(found.to_numpy(), dtype=np.int64)

    counts = np.zeros(n, dtype=np.int64)
    at = positions(people, "item_id")
    counts[at[at >= 0]] = people["people"].to_numpy()[at >= 0]

    at = positions(item_factors, "item_id")
    flat = item_factors["factors"].combine_chunks()
    matrix = (
        flat.flatten().to_numpy(zero_copy_only=False).reshape(len(at), -1) if len(at) else np.zeros((0, 1))
    )
    factors = np.zeros((n, matrix.shape[1]), dtype=np.float32)
    factors[at[at >= 0]] = matrix[at >= 0]
    has_factors = np.zeros(n, dtype=bool)
    has_factors[at[at >= 0]] = True

    of, to = positions(neighbors, "item_id"), positions(neighbors, "neighbor_id")
    cosine = neighbors["cosine"].to_numpy().astype(np.float32)
    strength = np.clip((cosine - mean_cosine) / max(1.0 - mean_cosine, 1e-6), 0.0, 1.0).astype(np.float32)
    kept = (of >= 0) & (to >= 0) & (strength > 0)
    order = np.lexsort((to[kept], -strength[kept], of[kept]))
    start = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(np.bincount(of[kept], minlength=n), out=start[1:])
    return ItemSide(
        ids,
        titles,
        counts,
        factors,
        has_factors,
        start,
        to[kept][order].astype(np.int32),
        strength[kept][order],
    )
