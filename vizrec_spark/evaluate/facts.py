"""What metrics need to know about items, as plain arrays that every task shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

CLASSES = ("head", "middle", "tail", "cold")
"""Popularity classes: the most popular items that together have a third of the training interactions, the next
third, the rest, and the items without any."""


@dataclass(frozen=True)
class ItemFacts:
    """n items, in ascending order of `ids`, known below by their positions.

    people (n,): users who met the item in the training window, of `n_users` in all; popularity_rank (n,): 0 for the
    most popular, ties in order of id; klass (n,): index into `CLASSES`; candidate (n,): may be recommended;
    categories of item i: `category_codes[category_start[i]:category_start[i + 1]]`, 0 to `n_categories` − 1;
    looks (n, d) float32 unit vectors with the catalogue's mean taken off, zero without picture, or None;
    has_looks (n,). Its size is about n · (4 d + 100) bytes.
    """

    ids: pa.Array
    people: NDArray[np.int64]
    n_users: int
    popularity_rank: NDArray[np.int64]
    klass: NDArray[np.int64]
    candidate: NDArray[np.bool_]
    category_start: NDArray[np.int64]
    category_codes: NDArray[np.int64]
    n_categories: int
    looks: NDArray[np.float32] | None
    has_looks: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)

    def positions(self, ids: pa.Array) -> NDArray[np.int64]:
        """Positions of item ids; -1 for one that is not known."""
        found = pc.fill_null(pc.index_in(ids, value_set=self.ids), -1)
        return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)


def build_facts(
    items: pa.Table,
    people: pa.Table,
    n_users: int,
    *,
    candidates: pa.Table | None = None,
    vectors: pa.Table | None = None,
) -> ItemFacts:
    """`ItemFacts` from Arrow tables.

    items: `item_id` and, optionally, `categories` (list of string), each id once; it must hold every item that a user
    met. people: `item_id`, `people`. candidates: `item_id`s that may be recommended (None: all). vectors: `item_id`,
    `vector` (list of float), a row a picture; the looks of an item are their mean.
    """
    ordered = items.sort_by("item_id")
    ids = ordered["item_id"].combine_chunks()
    n = len(ids)

    def at(table: pa.Table) -> NDArray[np.int64]:
        found = pc.fill_null(pc.index_in(table["item_id"].combine_chunks(), value_set=ids), -1)
        return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)

    counts = np.zeros(n, dtype=np.int64)
    place = at(people)
    counts[place[place >= 0]] = people["people"].to_numpy()[place >= 0]
    rank = np.empty(n, dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(n)

    candidate = np.ones(n, dtype=bool)
    if candidates is not None:
        candidate[:] = False
        place = at(candidates)
        candidate[place[place >= 0]] = True

    start, codes, n_categories = _categories(ordered, n)
    looks, has_looks = _looks(vectors, at, n)
    return ItemFacts(
        ids,
        counts,
        n_users,
        rank,
        _classes(counts, rank),
        candidate,
        start,
        codes,
        n_categories,
        looks,
        has_looks,
    )


def _classes(people: NDArray[np.int64], rank: NDArray[np.int64]) -> NDArray[np.int64]:
    order = np.argsort(rank)
    before = np.cumsum(people[order]) - people[order]
    third = np.minimum(3 * before // max(int(people.sum()), 1), 2)
    klass = np.empty(len(people), dtype=np.int64)
    klass[order] = third
    klass[people == 0] = CLASSES.index("cold")
    return klass


def _categories(ordered: pa.Table, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    if "categories" not in ordered.column_names:
        return np.zeros(n + 1, dtype=np.int64), np.zeros(0, dtype=np.int64), 0
    lists = pc.fill_null(ordered["categories"].combine_chunks(), [])
    start = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(pc.list_value_length(lists).to_numpy(zero_copy_only=False), out=start[1:])
    encoded = pc.dictionary_encode(lists.flatten())
    codes = np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
    return start, codes, len(encoded.dictionary)


def _looks(
    vectors: pa.Table | None, at: Callable[[pa.Table], NDArray[np.int64]], n: int
) -> tuple[NDArray[np.float32] | None, NDArray[np.bool_]]:
    has_looks = np.zeros(n, dtype=bool)
    if vectors is None or len(vectors) == 0:
        return None, has_looks
    place = at(vectors)
    flat = vectors["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    matrix = flat.reshape(len(place), -1).astype(np.float32)[place >= 0]
    place = place[place >= 0]
    pictures = np.bincount(place, minlength=n)
    looks = np.zeros((n, matrix.shape[1]), dtype=np.float32)
    np.add.at(looks, place, matrix)
    pictured = np.flatnonzero(pictures)
    mean = looks[pictured] / pictures[pictured, None]
    centred = mean - mean.mean(axis=0, dtype=np.float64).astype(np.float32)
    length = np.linalg.norm(centred, axis=1)
    looks[:] = 0
    usable = pictured[length > 0]
    looks[usable] = centred[length > 0] / length[length > 0, None]
    has_looks[usable] = True
    return looks, has_looks
