"""Lets the shoppers of a generated shop go on acting, as their known taste has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vizrec_spark.demo.catalogue import Catalogue, generate_catalogue
from vizrec_spark.demo.events import generate_events
from vizrec_spark.demo.shop import STAMP
from vizrec_spark.demo.shoppers import Shoppers, generate_shoppers
from vizrec_spark.errors import InputError

_ROUND = 5_000
_VISIT = 4  # acts of one shopper in a row, so that one can see a list follow them


class Act(NamedTuple):
    """A shopper does something with a product: view, cart or buy."""

    user_id: str
    item_id: str
    event: str


def live_acts(landing: str | Path, seed: int) -> Iterator[Act]:
    """Acts without end of the shoppers of a shop that `write_shop` has made in `landing`, a visit of one after another.

    The same for the same shop and seed. Raises: InputError where no such shop is.
    """
    stamp = Path(landing) / STAMP
    try:
        parameters = json.loads(stamp.read_text(encoding="utf-8"))["parameters"]
    except (OSError, ValueError, KeyError):
        raise InputError(
            f"{stamp} is missing: simulated shoppers need a shop that `vizrec demo` has generated."
        ) from None
    catalogue = generate_catalogue(parameters["n_items"], seed=parameters["seed"])
    shoppers = generate_shoppers(parameters["n_users"], catalogue, seed=parameters["seed"])
    return _acts(catalogue, shoppers, seed)


def _acts(catalogue: Catalogue, shoppers: Shoppers, seed: int) -> Iterator[Act]:
    for number in count():
        # Apart from the shop's own seed, and from another one's later rounds.
        drawn_by = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        drawn = generate_events(_ROUND, shoppers, catalogue, seed=drawn_by)
        visits = drawn.groupby("user_id").cumcount() // _VISIT
        keys = drawn["user_id"] + " " + visits.astype(str)
        order = np.random.default_rng(drawn_by).permutation(keys.unique())
        for key in order:
            for row in drawn[keys == key].itertuples(index=False):
                yield Act(row.user_id, row.item_id, row.event)
