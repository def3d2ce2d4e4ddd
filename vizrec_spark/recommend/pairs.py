"""Pairs of user and item as flat arrays, and the few operations that the kernels need on them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Pairs(NamedTuple):
    """Candidate pairs: `user` (row in the block), `item` (position), `value`, `because` (position or -1)."""

    user: Ints
    item: Ints
    value: Floats
    because: Ints


class Users(NamedTuple):
    """A block of u users with their history as flat arrays.

    `factors` (u, rank) float32, zero rows where `has_factors` (u,) is false. History entry j: user row
    `user[j]`, item position `item[j]`, `weight[j]` (0 for an item that they do not like),
    `event[j]` (name), `time[j]` (seconds).
    """

    factors: NDArray[np.float32]
    has_factors: NDArray[np.bool_]
    user: Ints
    item: Ints
    weight: Floats
    event: NDArray[np.object_]
    time: Floats

    def __len__(self) -> int:
        return len(self.factors)


def keys(user: Ints, item: Ints, n_items: int) -> Ints:
    """One number a pair."""
    return user * np.int64(n_items) + item


def contains(sorted_keys: Ints, wanted: Ints) -> NDArray[np.bool_]:
    """For each of `wanted`, whether it stands in `sorted_keys`."""
    if len(sorted_keys) == 0:
        return np.zeros(len(wanted), dtype=bool)
    at = np.minimum(np.searchsorted(sorted_keys, wanted), len(sorted_keys) - 1)
    return np.asarray(sorted_keys[at] == wanted)


def place_in_group(group: Ints) -> Ints:
    """0, 1, 2, ... within each run of equal values of a sorted array."""
    if len(group) == 0:
        return group
    first = np.flatnonzero(np.concatenate(([True], group[1:] != group[:-1])))
    return np.arange(len(group)) - np.repeat(first, np.diff(np.append(first, len(group))))


def best_per_group(group: Ints, value: Floats, tie: Ints, k: int) -> Ints:
    """Positions of the k largest values of each group, ordered by group, then best first, ties by `tie`."""
    order = np.lexsort((tie, -value, group))
    return order[place_in_group(group[order]) < k]


def expand(start: Ints, length: Ints) -> tuple[Ints, Ints]:
    """For ranges start[i] to start[i] + length[i]: the range that each member belongs to, and the members."""
    owner = np.repeat(np.arange(len(start)), length)
    offset = np.arange(len(owner)) - np.repeat(np.cumsum(length) - length, length)
    return owner, start[owner] + offset
