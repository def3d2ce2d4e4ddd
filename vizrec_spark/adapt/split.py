"""Which labelled pictures are learned from, chosen on, and judged: never nearly the same picture on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Parts = NDArray[np.str_]


def stratified(
    truth: NDArray[np.bool_],
    groups: Ints,
    keys: NDArray[np.uint64],
    validation_share: float,
    test_share: float,
    learned: Parts | None = None,
) -> Parts:
    """The part of each picture, (n,): ``train``, ``validation`` or ``test``.

    truth: (n, classes); groups: (n,) the smallest row of each picture's group, whose pictures stay together; keys:
    (n,) see `keys_of`. Groups are dealt out by their rarest label, in order of the key of that row, so that each label
    has about its share in each part. A label of two groups or more has one in training and one in test, of three or
    more also one in validation.

    learned: (n,) ``train`` or ``validation`` where the encoder has learned from a picture as such before, else empty:
    its group stays there, and only the others can be judged. So a label of which all has been learned is not in test.
    """
    support = np.maximum(truth.sum(axis=0), 1)
    rarity = np.where(truth, support, np.iinfo(np.int64).max)
    names = np.unique(groups)
    stratum = rarity.argmin(axis=1)[names]
    part_of = _before(learned, groups, names)
    order = np.argsort(keys[names], kind="stable")
    for label in np.unique(stratum):
        mine = order[stratum[order] == label]
        free, n = mine[part_of[mine] == ""], len(mine)
        test = min(max(round(test_share * n), 1), n - 1, len(free))
        validation = min(max(round(validation_share * n), 1), n - test - 1)
        validation = max(validation - int((part_of[mine] == "validation").sum()), 0)
        part_of[free[:test]] = "test"
        part_of[free[test : test + validation]] = "validation"
    part_of[part_of == ""] = "train"
    return part_of[np.searchsorted(names, groups)]


def _before(learned: Parts | None, groups: Ints, names: Ints) -> Parts:
    """The part of each of the groups `names` in which the encoder has learned from it, training first; else empty."""
    part_of = np.full(len(names), "", dtype="<U10")
    if learned is not None:
        for part in ("validation", "train"):
            part_of[np.searchsorted(names, np.unique(groups[learned == part]))] = part
    return part_of


def not_judged(part: Parts, groups: Ints, learned: Parts) -> Parts:
    """The parts that the catalogue gave, (n,); ``left_out`` where a picture of part test is nearly the same as one that
    the encoder has learned from before. learned: see `stratified`."""
    return np.where((part == "test") & np.isin(groups, groups[learned != ""]), "left_out", part)


def keys_of(names: Sequence[str], seed: int) -> NDArray[np.uint64]:
    """A number for each name, which is random but depends on name and seed alone: so a picture keeps its part, but for
    few at the borders, when others come, and a later version is not judged on what an earlier one has learned."""
    digests = b"".join(blake2b(f"{seed} {name}".encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, np.uint64)


def without_copies(part: Parts, groups: Ints) -> Parts:
    """The parts that the catalogue gave, (n,); ``left_out`` where a picture of the same group is in a later part, so
    that neither what is judged nor what is chosen on has been learned from."""
    order = {"train": 0, "validation": 1, "test": 2}
    rank = np.array([order[name] for name in part.tolist()], np.int64)
    latest = np.zeros(int(groups.max()) + 1, np.int64)
    np.maximum.at(latest, groups, rank)
    return np.where(rank < latest[groups], "left_out", part)
