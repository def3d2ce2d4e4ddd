"""Which labelled pictures are learned from, chosen on, and judged: never nearly the same picture on both sides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Parts = NDArray[np.str_]


def stratified(
    truth: NDArray[np.bool_], groups: Ints, validation_share: float, test_share: float, seed: int
) -> Parts:
    """The part of each picture, (n,): ``train``, ``validation`` or ``test``.

    truth: (n, classes); groups: (n,) the pictures of a group stay together. Groups are dealt out by their rarest label,
    in random order, so that each label has about its share in each part. A label of two groups or more has one in
    training and one in test, of three or more also one in validation.
    """
    support = np.maximum(truth.sum(axis=0), 1)
    rarity = np.where(truth, support, np.iinfo(np.int64).max)
    names, first = np.unique(groups, return_index=True)
    stratum = rarity.argmin(axis=1)[first]
    part_of = np.full(len(names), "train", dtype="<U10")
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(names))
    for label in np.unique(stratum):
        mine = order[stratum[order] == label]
        n = len(mine)
        test = min(max(round(test_share * n), 1), n - 1)
        validation = min(max(round(validation_share * n), 1), n - test - 1)
        part_of[mine[:test]] = "test"
        part_of[mine[test : test + validation]] = "validation"
    return part_of[np.searchsorted(names, groups)]


def without_copies(part: Parts, groups: Ints) -> Parts:
    """The parts that the catalogue gave, (n,); ``left_out`` where a picture of the same group is in a later part, so
    that neither what is judged nor what is chosen on has been learned from."""
    order = {"train": 0, "validation": 1, "test": 2}
    rank = np.array([order[name] for name in part.tolist()], np.int64)
    latest = np.zeros(int(groups.max()) + 1, np.int64)
    np.maximum.at(latest, groups, rank)
    return np.where(rank < latest[groups], "left_out", part)
