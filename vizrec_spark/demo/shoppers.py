"""Generates shoppers whose taste is known: looks that anyone can see, and a circle that nobody can."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vizrec_spark.demo.catalogue import END, START, Catalogue, Codes, Product, numbered
from vizrec_spark.demo.taste import MAX_LOOKS, Look, look_codes
from vizrec_spark.demo.vocabulary import PATTERNS
from vizrec_spark.errors import InputError

_LOOK_SORTS = (0.55, 0.20, 0.25)  # kind and family, kind and pattern, pattern and family
_LOOK_COUNTS = (0.35, 0.40, 0.25)  # one, two or three looks


@dataclass(frozen=True)
class TasteMatch:
    """How well a product suits a shopper."""

    look: float
    """Sum of the weights of the looks that the product has, 0 to 1."""
    circle: bool
    """Whether both belong to the same circle."""


@dataclass(frozen=True)
class Shopper:
    """One shopper. ``looks`` come with weights that sum to 1; ``circle`` is hidden taste."""

    user_id: str
    looks: tuple[tuple[Look, float], ...]
    circle: int
    joined_at: int
    """Epoch seconds."""
    active: bool
    """False for somebody who signed up and did nothing."""


@dataclass(frozen=True)
class Shoppers:
    """All shoppers as columns of length n."""

    user_id: NDArray[np.str_]
    looks: NDArray[np.int64]
    """Numbers of the liked looks (see ``taste.Look.of_code``), shape (n, 3); -1 where there is none."""
    weights: NDArray[np.float64]
    """Weights of the looks, shape (n, 3), each row sums to 1."""
    circle: Codes
    joined_at: NDArray[np.int64]
    zeal: NDArray[np.float64]
    """Relative number of events, long-tailed; 0 for an idle shopper."""
    casual: NDArray[np.bool_]
    """Shoppers who leave one or two events and no more."""

    def __len__(self) -> int:
        return len(self.user_id)

    def __getitem__(self, position: int) -> Shopper:
        liked = zip(self.looks[position].tolist(), self.weights[position].tolist(), strict=True)
        return Shopper(
            user_id=str(self.user_id[position]),
            looks=tuple((Look.of_code(code), weight) for code, weight in liked if code >= 0),
            circle=int(self.circle[position]),
            joined_at=int(self.joined_at[position]),
            active=bool(self.zeal[position] > 0),
        )

    def __iter__(self) -> Iterator[Shopper]:
        return (self[position] for position in range(len(self)))

    def truth_frame(self) -> pd.DataFrame:
        """user_id, circle, active, and look_1 to look_3 (text, see ``Look.parse``) with weight_1 to weight_3."""
        names = np.array([*(str(Look.of_code(code)) for code in range(int(self.looks.max()) + 1)), ""])
        frame = pd.DataFrame(
            {"user_id": self.user_id, "circle": self.circle.astype(int), "active": self.zeal > 0}
        )
        for k in range(MAX_LOOKS):
            frame[f"look_{k + 1}"] = names[self.looks[:, k]]
            frame[f"weight_{k + 1}"] = self.weights[:, k]
        return frame


def taste_match(shopper: Shopper, product: Product) -> TasteMatch:
    """The truth about one pair; ``truth.Truth.match`` says the same of whole tables."""
    look = sum(weight for look, weight in shopper.looks if look.fits(product))
    return TasteMatch(look=look, circle=shopper.circle == product.circle)


def generate_shoppers(
    n_users: int,
    catalogue: Catalogue,
    *,
    seed: int = 7,
    idle_share: float = 0.04,
    casual_share: float = 0.08,
) -> Shoppers:
    """Shoppers who like one to three looks, each that of some product, and belong to one circle.

    ``idle_share`` of them do nothing, ``casual_share`` leave one or two events; the others differ in zeal
    by a log-normal law. Looks and circle are independent.

    Raises: InputError when ``n_users`` is not positive or the shares leave nobody who acts.
    """
    if n_users < 1:
        raise InputError(f"n_users must be at least 1; got {n_users}.")
    if min(idle_share, casual_share) < 0 or idle_share + casual_share >= 1:
        raise InputError(
            f"idle_share and casual_share must be at least 0 and less than 1 together; "
            f"got {idle_share} and {casual_share}."
        )
    rng = np.random.default_rng([seed, 2])
    looks, weights = _draw_looks(n_users, catalogue, rng)
    rank = rng.permutation(n_users)
    n_idle, n_casual = int(n_users * idle_share), int(n_users * casual_share)
    zeal = np.exp(np.clip(rng.normal(0, 0.75, n_users), -2.0, 2.2))
    zeal[rank < n_idle] = 0
    late = rng.random(n_users) < 0.4
    joined_at = np.where(late, START + rng.integers(0, (END - START) * 3 // 4, n_users), START)
    return Shoppers(
        user_id=numbered("u", n_users),
        looks=looks,
        weights=weights,
        circle=rng.permutation(np.arange(n_users) % catalogue.n_circles).astype(np.int16),
        joined_at=joined_at.astype(np.int64),
        zeal=zeal,
        casual=(rank >= n_idle) & (rank < n_idle + n_casual),
    )


def _draw_looks(
    n: int, catalogue: Catalogue, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Looks of products drawn at random, so that none is empty; a plain product lends its kind and family."""
    codes = look_codes(catalogue)
    example = rng.integers(len(catalogue), size=(n, MAX_LOOKS))
    sort = rng.choice(3, size=(n, MAX_LOOKS), p=_LOOK_SORTS)
    sort[catalogue.pattern[example] == PATTERNS.index("plain")] = 0
    looks = codes[example, sort]
    count = rng.choice(MAX_LOOKS, size=n, p=_LOOK_COUNTS) + 1
    repeated = np.zeros_like(looks, dtype=bool)
    for k in range(1, MAX_LOOKS):
        repeated[:, k] = (looks[:, :k] == looks[:, k : k + 1]).any(axis=1)
    looks = np.where((np.arange(MAX_LOOKS) < count[:, None]) & ~repeated, looks, -1)
    weights = np.where(looks >= 0, rng.uniform(0.4, 1.0, looks.shape), 0.0)
    return looks, weights / weights.sum(axis=1, keepdims=True)
