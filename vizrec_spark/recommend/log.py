"""The log of interactions as arrays, and its cut into a training and a validation window."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Log(NamedTuple):
    """m pairs of a user (0 to n_users − 1) and an item (0 to n_items − 1), each once: `weight` (0 for what they do
    not like), `preference` (what ALS learns from, NaN for nothing), `time` in seconds of the last event; `whole`:
    whether they are of all users, not of a sample."""

    user: Ints
    item: Ints
    weight: NDArray[np.float64]
    preference: NDArray[np.float64]
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


def validation_window(log: Log, share: float, fewest: int = 5) -> NDArray[np.bool_]:
    """Which pairs are held out: the last `share` of what each user likes, by time, at least one.

    Only of users who like at least `fewest` items; of one moment the larger positions count as later.
    """
    liked = np.flatnonzero(log.weight > 0)
    order = liked[np.lexsort((log.item[liked], log.time[liked], log.user[liked]))]
    count = np.bincount(log.user[order], minlength=log.n_users)
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    place = np.arange(len(order)) - first[log.user[order]]
    held_out = np.maximum(np.rint(share * count), 1)
    late = (place >= (count - held_out)[log.user[order]]) & (count >= fewest)[log.user[order]]
    held = np.zeros(len(log.user), dtype=bool)
    held[order[late]] = True
    return held
