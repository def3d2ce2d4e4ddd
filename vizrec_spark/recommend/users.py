"""A block of users with their histories as flat arrays: what the scoring kernels are handed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Users(NamedTuple):
    """u users. `factors` (u, rank) float32, zero rows where `has_factors` (u,) is false.

    The history, latest first: entries indptr[i] to indptr[i + 1] are user i's; entry e is the item at position
    `item[e]`, met by `event[e]` at `time[e]` (seconds); `whole[e]` how much it says (log2(1 + weight)), `recent[e]`
    the same halved every `half_life` entries. `seen` (with `seen_indptr`): what may not be offered. `segment` (u,):
    whose popularity stands in for a history that says nothing, a position in `Segments`; -1 for that of all users.
    """

    factors: NDArray[np.float32]
    has_factors: NDArray[np.bool_]
    indptr: Ints
    item: Ints
    recent: NDArray[np.float32]
    whole: NDArray[np.float32]
    event: NDArray[np.object_]
    time: NDArray[np.float64]
    seen_indptr: Ints
    seen: Ints
    segment: Ints

    def __len__(self) -> int:
        return len(self.factors)


def gather_users(
    factors: NDArray[np.float32],
    has_factors: NDArray[np.bool_],
    user: Ints,
    item: Ints,
    weight: NDArray[np.float64],
    time: NDArray[np.float64],
    *,
    keep: int,
    half_life: float,
    event: NDArray[np.object_] | None = None,
    barred: NDArray[np.bool_] | None = None,
    segment: Ints | None = None,
) -> Users:
    """`Users` from history entries in any order: one a user and item.

    The latest `keep` entries that a user likes (weight above 0) speak for them: latest first, those of one moment by
    item. The i-th of them (from 0) has recency 2^(−i / half_life): what counts is how many came after, for people
    act in bursts, and a clock would call a whole burst equally old. `barred` (entries) says which may not be
    offered again; left out, all. `segment` (users): see `Users`; it counts where nothing else speaks for a user.
    """
    order = np.lexsort((item, -time, user))
    speaks = order[weight[order] > 0]
    place = _place(user[speaks])
    speaks, place = speaks[place < keep], place[place < keep]
    whole = np.log2(1.0 + weight[speaks])
    held = order if barred is None else order[barred[order]]
    n = len(factors)
    names = np.full(len(user), "", dtype=object) if event is None else event
    indptr = _bounds(user[speaks], n)
    groups = (
        np.full(n, -1, dtype=np.int64) if segment is None else np.where(np.diff(indptr) == 0, segment, -1)
    )
    return Users(
        factors,
        has_factors,
        indptr,
        item[speaks],
        (whole * np.exp2(-place / half_life)).astype(np.float32),
        whole.astype(np.float32),
        names[speaks],
        time[speaks],
        _bounds(user[held], n),
        item[held],
        groups,
    )


def _bounds(user: Ints, n: int) -> Ints:
    return np.concatenate([[0], np.cumsum(np.bincount(user, minlength=n))]).astype(np.int64)


def _place(group: Ints) -> Ints:
    """0, 1, 2, ... within each run of equal values of a sorted array."""
    if len(group) == 0:
        return group
    first = np.flatnonzero(np.concatenate(([True], group[1:] != group[:-1])))
    return np.arange(len(group)) - np.repeat(first, np.diff(np.append(first, len(group))))
