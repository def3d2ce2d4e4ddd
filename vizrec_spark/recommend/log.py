"""The log of interactions as arrays, and its cut into a training and a validation window."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Log(NamedTuple):
    """m pairs of a user (0 to n_users − 1) and an item (0 to n_items − 1), each once: `weight` (0 for what they do
    not like), `preference` (what ALS learns from, NaN for nothing), `first` and `time` in seconds of the first and the
    last event; `whole`: whether they are of all users, not of a sample."""

    user: Ints
    item: Ints
    weight: NDArray[np.float64]
    preference: NDArray[np.float64]
    first: NDArray[np.float64]
    time: NDArray[np.float64]
    n_users: int
    n_items: int
    whole: bool = True

    def where(self, kept: NDArray[np.bool_]) -> Log:
        """The pairs for which `kept` (m,) holds."""
        return self._replace(
            user=self.user[kept],
            item=self.item[kept],
            weight=self.weight[kept],
            preference=self.preference[kept],
            first=self.first[kept],
            time=self.time[kept],
        )


def present(log: Log) -> float:
    """The first moment, in seconds since 1970, that 99.9 % of the pairs do not lie behind; 0 without any.

    One row of a clock that runs ahead would make everything else old (see `retrieval.preferences.present`).
    """
    return float(np.quantile(log.time, 0.999, method="inverted_cdf")) if len(log.time) else 0.0


def rows_of(group: Ints, member: Ints, n: int) -> tuple[Ints, Ints, Ints]:
    """Compressed rows: bounds (n + 1), the members of each row ascending, and the order that sorts the input so."""
    order = np.lexsort((member, group))
    bounds = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=n))]).astype(np.int64)
    return bounds, member[order], order


class Cut(NamedTuple):
    """A log in two: `train`, and which pairs of the whole are `held` out (m,) bool."""

    train: Log
    held: NDArray[np.bool_]


def validation_window(log: Log, share: float, fewest: int = 5) -> Cut:
    """Holds out the last `share` of what each user likes, by when they first met it, at least one item.

    Only of users who like at least `fewest` items; of one moment the larger positions count as later. Of what a user
    did from the first moment of their window on, `train` knows little: an item met before and again in it stands there
    with the time of its first event (and the weight of all), and one that they disliked in it not at all.
    """
    liked = np.flatnonzero(log.weight > 0)
    order = liked[np.lexsort((log.item[liked], log.first[liked], log.user[liked]))]
    count = np.bincount(log.user[order], minlength=log.n_users)
    start = np.concatenate([[0], np.cumsum(count)[:-1]])
    place = np.arange(len(order)) - start[log.user[order]]
    held_out = np.maximum(np.rint(share * count), 1)
    late = (place >= (count - held_out)[log.user[order]]) & (count >= fewest)[log.user[order]]
    held = np.zeros(len(log.user), dtype=bool)
    held[order[late]] = True
    opens = np.full(log.n_users, np.inf)
    np.minimum.at(opens, log.user[held], log.first[held])
    after = log.time >= opens[log.user]
    known = ~held & ~((log.weight == 0) & after)
    return Cut(log._replace(time=np.where(after, log.first, log.time)).where(known), held)
