"""Lets shoppers act: views, carts and purchases over some ninety days."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vizrec_spark.demo.catalogue import DAY, END, Catalogue
from vizrec_spark.demo.shoppers import Shoppers
from vizrec_spark.demo.taste import MAX_LOOKS, N_LOOKS, look_codes
from vizrec_spark.errors import InputError

EVENTS = ("view", "cart", "buy")

_EVENTS_PER_INTEREST = 1.55  # how many events one product of interest brings in the mean
_EXTRA_DRAWS = 3.0  # draws per interest wanted, as many fall on a product that was drawn before

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Behaviour:
    """What draws a shopper to a product.

    An interest follows a liked look with ``look_share``, nothing at all with ``noise_share``, else the circle
    alone. Within what it follows products are drawn by popularity; those of the shopper's circle weigh
    ``circle_in_look`` times as much inside a look and ``circle_alone`` times as much outside (noise: once).
    """

    look_share: float = 0.60
    noise_share: float = 0.08
    circle_in_look: float = 5.0
    circle_alone: float = 14.0

    def __post_init__(self) -> None:
        if min(self.look_share, self.noise_share) < 0 or self.look_share + self.noise_share > 1:
            raise InputError(
                "look_share and noise_share must be at least 0 and at most 1 together; "
                f"got {self.look_share} and {self.noise_share}."
            )


def generate_events(
    n_events: int,
    shoppers: Shoppers,
    catalogue: Catalogue,
    *,
    seed: int = 7,
    behaviour: Behaviour | None = None,
) -> pd.DataFrame:
    """Exactly ``n_events`` rows user_id, item_id, event (view, cart, buy), timestamp (epoch seconds, int64).

    Ordered by time; no row occurs twice; none is on a new product, before its product was added, before its
    shopper joined, or after ``catalogue.END``.

    Raises: InputError when no product can be touched or no shopper acts, or ``n_events`` is below 1.
    """
    acting = np.flatnonzero(shoppers.zeal > 0)
    if n_events < 1 or not len(acting) or catalogue.is_new.all():
        raise InputError(
            "Events need n_events >= 1, a shopper who acts and a product that is not new; got "
            f"n_events={n_events}, {len(acting)} acting shoppers, {int((~catalogue.is_new).sum())} products."
        )
    rng = np.random.default_rng([seed, 3])
    wanted = _interests_wanted(n_events, shoppers, rng)
    user, item = _draw_interests(wanted, shoppers, catalogue, behaviour or Behaviour(), rng)
    rows, event, time = _acts(user, item, shoppers, catalogue, rng)
    user, item = user[rows], item[rows]
    user, item, event, time = _exactly(n_events, user, item, event, time, shoppers.casual, rng)
    order = np.lexsort((event, item, user, time))
    return pd.DataFrame(
        {
            "user_id": shoppers.user_id[user[order]],
            "item_id": catalogue.item_id[item[order]],
            "event": np.array(EVENTS)[event[order]],
            "timestamp": time[order],
        }
    )


def _interests_wanted(n_events: int, shoppers: Shoppers, rng: np.random.Generator) -> Ints:
    """How many products each shopper gets interested in, shape (n_users,)."""
    zeal = np.where(shoppers.casual, 0.0, shoppers.zeal)
    casual = np.where(shoppers.casual & (shoppers.zeal > 0), 1, 0)
    rest = max(0, round(n_events / _EVENTS_PER_INTEREST) - int(casual.sum()))
    if zeal.sum() == 0:
        return casual.astype(np.int64)
    eager = np.maximum(np.round(zeal / zeal.sum() * rest), zeal > 0)
    return (casual + eager).astype(np.int64)


class _Shelves:
    """Products grouped by look and, in a last group, all of them; inside a group by circle.

    A draw by popularity from any part of a group is one binary search in the running sum of all weights.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        warm = np.flatnonzero(~catalogue.is_new)
        codes = look_codes(catalogue)[warm]
        everything = np.full((len(warm), 1), N_LOOKS)
        group = np.hstack([codes, everything]).ravel()
        item = np.repeat(warm, MAX_LOOKS + 1)
        self._circles = catalogue.n_circles
        key = group * self._circles + catalogue.circle[item]
        order = np.argsort(key, kind="stable")
        self._item = item[order]
        self._sums = np.concatenate([[0.0], np.cumsum(catalogue.popularity[self._item])])
        keys = np.arange((N_LOOKS + 1) * self._circles + 1)
        self._starts = self._sums[np.searchsorted(key[order], keys)]

    def draw(self, group: Ints, circle: Ints, boost: Floats, rng: np.random.Generator) -> Ints:
        """One product a row from ``group`` (all products where that is empty), the circle's weighing ``boost``."""
        first = group * self._circles
        empty = self._starts[first + self._circles] <= self._starts[first]
        first = np.where(empty, N_LOOKS * self._circles, first)
        low, high = self._starts[first], self._starts[first + self._circles]
        own_low, own_high = self._starts[first + circle], self._starts[first + circle + 1]
        own = own_high - own_low
        others = (high - low) - own
        inside = rng.random(len(group)) * (boost * own + others) < boost * own
        spot = rng.random(len(group))
        outside = low + spot * others
        outside += np.where(outside >= own_low, own, 0.0)
        at = np.where(inside, own_low + spot * own, outside)
        found = np.searchsorted(self._sums, at, side="right") - 1
        return self._item[np.clip(found, 0, len(self._item) - 1)]


def _draw_interests(
    wanted: Ints, shoppers: Shoppers, catalogue: Catalogue, behaviour: Behaviour, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Distinct (shopper, product) pairs as positions, at most ``wanted`` a shopper, in the order drawn."""
    draws = np.where(wanted > 0, np.ceil(wanted * _EXTRA_DRAWS) + 2, 0).astype(np.int64)
    user = np.repeat(np.arange(len(wanted)), draws)
    n = len(user)
    pick = rng.random(n)
    sums = np.cumsum(shoppers.weights, axis=1)[user]
    look = np.minimum((rng.random(n)[:, None] >= sums).sum(axis=1), MAX_LOOKS - 1)
    liked = shoppers.looks[user, look]
    by_look = (pick < behaviour.look_share) & (liked >= 0)
    noise = pick >= 1 - behaviour.noise_share
    group = np.where(by_look, liked, N_LOOKS)
    boost = np.where(by_look, behaviour.circle_in_look, np.where(noise, 1.0, behaviour.circle_alone))
    item = _Shelves(catalogue).draw(group, shoppers.circle[user].astype(np.int64), boost, rng)
    _, first = np.unique(user * len(catalogue) + item, return_index=True)
    first.sort()
    user, item = user[first], item[first]
    starts = np.searchsorted(user, np.arange(len(wanted)))
    kept = np.arange(len(user)) - starts[user] < wanted[user]
    return user[kept], item[kept]


def _acts(
    user: Ints, item: Ints, shoppers: Shoppers, catalogue: Catalogue, rng: np.random.Generator
) -> tuple[Ints, Ints, Ints]:
    """What each interest leads to: row of the interest, event (position in ``EVENTS``), epoch seconds.

    Always a view, inside one of the shopper's visits; often another view on another day, a cart, a purchase.
    """
    n = len(user)
    visits = 1 + np.bincount(user, minlength=len(shoppers)) // 5
    starts = np.concatenate([[0], np.cumsum(visits)])
    host = np.repeat(np.arange(len(shoppers)), visits)
    joined = shoppers.joined_at[host]
    day = joined + rng.random(len(host)) * (END - DAY - joined)
    evening = (rng.normal(19.0, 3.5, len(host)) % 24) * 3600
    visit_time = np.maximum(day // DAY * DAY + evening, joined)
    visit = starts[user] + (rng.random(n) * visits[user]).astype(np.int64)
    seen = visit_time[visit] + rng.integers(0, 40 * 60, n)
    opened = catalogue.added_at[item]
    late = opened + 3600 + rng.random(n) * (END - 2 * 3600 - opened)
    seen = np.where(seen < opened, late, seen)

    again = rng.random(n) < 0.24
    carted = (rng.random(n) < 0.21) & ~shoppers.casual[user]
    bought = carted & (rng.random(n) < 0.50)
    cart_time = seen + rng.integers(20, 1800, n)
    buy_time = cart_time + np.where(
        rng.random(n) < 0.7, rng.integers(30, 1800, n), rng.integers(DAY // 4, 3 * DAY, n)
    )
    back = seen + rng.integers(3600, 12 * DAY, n)
    parts = (
        (np.ones(n, dtype=bool), 0, seen),
        (again & (back < END), 0, back),
        (carted, 1, cart_time),
        (bought & (buy_time < END), 2, buy_time),
    )
    row = np.concatenate([np.flatnonzero(chosen) for chosen, _, _ in parts])
    event = np.concatenate([np.full(int(chosen.sum()), code) for chosen, code, _ in parts])
    time = np.concatenate([times[chosen] for chosen, _, times in parts])
    return row, event, np.minimum(time, END - 1).astype(np.int64)


def _exactly(
    n: int,
    user: Ints,
    item: Ints,
    event: Ints,
    time: Ints,
    casual: NDArray[np.bool_],
    rng: np.random.Generator,
) -> tuple[Ints, Ints, Ints, Ints]:
    """The acts without repetition, thinned or filled up with further views to ``n``."""
    columns = _distinct(np.stack([user, item, event, time], axis=1))
    if len(columns) > n:
        # Whoever has only a few acts keeps them.
        acts = np.bincount(columns[:, 0])[columns[:, 0]]
        ranked = rng.random(len(columns)) * np.where(acts > 2, 1.0, 1e-3)
        columns = columns[np.sort(np.argsort(ranked, kind="stable")[:n])]
    while len(columns) < n:
        source = columns[~casual[columns[:, 0]]]
        source = source if len(source) else columns
        more = source[rng.integers(len(source), size=n - len(columns))].copy()
        more[:, 2] = 0
        more[:, 3] += (rng.random(len(more)) * (END - more[:, 3])).astype(np.int64)
        columns = _distinct(np.vstack([columns, more]))
    return columns[:, 0], columns[:, 1], columns[:, 2], columns[:, 3]


def _distinct(rows: Ints) -> Ints:
    """The rows in order, each once."""
    rows = rows[np.lexsort(rows.T[::-1])]
    return rows[np.concatenate([[True], (rows[1:] != rows[:-1]).any(axis=1)])]
