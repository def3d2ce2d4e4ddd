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

_ROWS = 16_384  # vectors that are added up at a time


@dataclass(frozen=True)
class ItemFacts:
    """n items, in ascending order of `ids`, known below by their positions.

    people (n,): users who met the item in the training window, of `n_users` in all; popularity_rank (n,): 0 for the
    most popular candidate, ties in order of id, and all others behind the candidates; klass (n,): index into
    `CLASSES`; candidate (n,): may be recommended; categories of item i:
    `category_codes[category_start[i]:category_start[i + 1]]`, 0 to `n_categories` − 1; looks (m, d) float32: unit
    vectors, the catalogue's mean taken off, of m of the items, or None; look (n,): the row there, -1 for an item
    without. Its size is about 100 n + 4 m d bytes.
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
    look: NDArray[np.int64]

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
    mean: NDArray[np.float64] | None = None,
) -> ItemFacts:
    """`ItemFacts` from Arrow tables.

    items: `item_id` and, optionally, `categories` (list of string), each id once; it must hold every item that a user
    met. people: `item_id`, `people`. candidates: `item_id`s that may be recommended (None: all). vectors: `item_id`,
    `vector` (list of float) of the items whose looks are needed, a row a picture: the looks of an item are their
    mean. mean (d,): the mean looks of the catalogue (None: of the items in `vectors`).
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
    candidate = np.ones(n, dtype=bool)
    if candidates is not None:
        candidate[:] = False
        place = at(candidates)
        candidate[place[place >= 0]] = True

    start, codes, n_categories = _categories(ordered, n)
    looks, look = _looks(vectors, at, n, mean)
    return ItemFacts(
        ids,
        counts,
        n_users,
        _ranks(np.where(candidate, counts, -1)),
        _classes(counts, _ranks(counts)),
        candidate,
        start,
        codes,
        n_categories,
        looks,
        look,
    )


def _ranks(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return rank


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
    vectors: pa.Table | None,
    at: Callable[[pa.Table], NDArray[np.int64]],
    n: int,
    centre: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float32] | None, NDArray[np.int64]]:
    look = np.full(n, -1, dtype=np.int64)
    if vectors is None or len(vectors) == 0:
        return None, look
    place = at(vectors)
    flat = vectors["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    matrix = flat.reshape(len(place), -1)
    pictures = np.bincount(place[place >= 0], minlength=n)
    pictured = np.flatnonzero(pictures)
    look[pictured] = np.arange(len(pictured))
    looks = np.zeros((len(pictured), matrix.shape[1]), dtype=np.float32)
    for first in range(0, len(place), _ROWS):  # no second copy of all vectors
        rows = slice(first, first + _ROWS)
        known = place[rows] >= 0
        np.add.at(looks, look[place[rows][known]], matrix[rows][known])
    looks /= pictures[pictured, None]
    if centre is None:
        centre = looks.mean(axis=0, dtype=np.float64)
    looks -= centre.astype(np.float32)
    length = np.linalg.norm(looks, axis=1)
    look[pictured[length == 0]] = -1
    looks /= np.where(length > 0, length, 1)[:, None]
    return looks, look
