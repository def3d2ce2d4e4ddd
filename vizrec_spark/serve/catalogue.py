"""The items in memory: what a page shows of one, and how many people like it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from math import isnan
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vizrec_spark.serve.delta import Opened
from vizrec_spark.serve.texts import SortedTexts, Texts

_AT_ONCE = 10_000
_BYTES_OF_PLACE = 150  # an id as a Python object, and its place in a dictionary


@dataclass(frozen=True)
class Catalogue:
    """n items in ascending order of their ids; an item is known below by its position (0 to n − 1). `places`: that of
    each id, for whoever has looked at fifty items asks for fifty."""

    ids: SortedTexts
    places: Mapping[str, int]
    titles: Texts
    price: NDArray[np.float64]
    categories: pa.ListArray
    attributes: pa.MapArray

    def __len__(self) -> int:
        return len(self.ids)

    def position(self, item_id: str) -> int:
        """Where an item stands; -1 for one that is not in the catalogue."""
        return self.places.get(item_id, -1)

    def title(self, item: int) -> str:
        """The item's title, or its id where it has none."""
        return self.titles[item] or self.ids[item]

    def facts(self, item: int) -> dict[str, Any]:
        """What every answer says of an item: id, title, price (null where none is known), categories."""
        price, item_id = float(self.price[item]), self.ids[item]
        return {
            "item_id": item_id,
            "title": self.titles[item] or item_id,
            "price": None if isnan(price) else price,
            "categories": self.categories[item].as_py(),
        }

    def details(self, item: int) -> dict[str, Any]:
        """`facts` and the further columns of the catalogue."""
        return {**self.facts(item), "attributes": dict(self.attributes[item].as_py() or ())}

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        arrow = self.categories.nbytes + self.attributes.nbytes
        places = _BYTES_OF_PLACE * len(self.places)
        return int(self.ids.nbytes + places + self.titles.nbytes + self.price.nbytes + arrow)


def read_catalogue(items: Opened) -> Catalogue:
    """All of table `items`. Raises: TableError."""
    names = ("item_id", "title", "categories", "price", "attributes")
    found = items.table(names)
    if found is None:
        found = pa.table(
            [
                pa.array([], pa.string()),
                pa.array([], pa.string()),
                pa.array([], pa.list_(pa.string())),
                pa.array([], pa.float64()),
                pa.array([], pa.map_(pa.string(), pa.string())),
            ],
            names=list(names),
        )
    ordered = found.take(pc.sort_indices(found["item_id"])).combine_chunks()
    ids = _whole(ordered["item_id"])
    return Catalogue(
        SortedTexts(ids),
        _places(ids),
        Texts(ordered["title"]),
        ordered["price"].to_numpy(zero_copy_only=False).astype(np.float64),
        _whole(ordered["categories"]),
        _whole(ordered["attributes"]),
    )


def _places(ids: pa.Array) -> dict[str, int]:
    """The position of each id; made some at a time, for the interpreter answers meanwhile."""
    places: dict[str, int] = {}
    for first in range(0, len(ids), _AT_ONCE):
        places.update(zip(ids.slice(first, _AT_ONCE).to_pylist(), count(first), strict=False))
    return places


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def read_people(interactions: Opened | None, catalogue: Catalogue) -> NDArray[np.int32]:
    """(n,) int32: how many users like each item, as stage `recommend` counts them.

    A user likes an item if the weights of their interactions sum to more than 0, unless the latest rating among them is
    a low one (weight 0). Raises: TableError.
    """
    n = len(catalogue)
    if interactions is None or n == 0:
        return np.zeros(n, dtype=np.int32)
    names = ("user_id", "item_id", "event", "rating", "weight", "timestamp")
    user, item, weight, rated, moment, event = [], [], [], [], [], []
    users: pa.Array | None = None
    for piece in interactions.pieces(names, texts=("user_id", "item_id", "event")):
        data = piece.data
        users, codes = _coded(users, data["user_id"])
        user.append(codes)
        item.append(catalogue.ids.positions(data["item_id"]))
        weight.append(data["weight"].to_numpy())
        rated.append(pc.is_valid(data["rating"]).to_numpy(zero_copy_only=False))
        moment.append(data["timestamp"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy())
        event.append(data["event"])
    if not user:
        return np.zeros(n, dtype=np.int32)
    at, likes = np.concatenate(item), np.concatenate(weight)
    known = at >= 0
    pair = (np.concatenate(user).astype(np.int64) * n + at)[known]
    likes, rates = likes[known], np.concatenate(rated)[known]
    pairs, of_row = np.unique(pair, return_inverse=True)
    liked = np.bincount(of_row, weights=likes, minlength=len(pairs)) > 0
    rows = np.flatnonzero(rates)
    if len(rows) and (likes[rows] == 0).any():
        names_of = pa.chunked_array([c.cast(pa.string()) for column in event for c in column.chunks])
        order_of_event = pc.rank(names_of, tiebreaker="dense").to_numpy()[known]
        when = np.concatenate(moment)[known]
        rows = rows[np.lexsort((order_of_event[rows], when[rows], of_row[rows]))]
        last = np.append(of_row[rows][1:] != of_row[rows][:-1], True)
        verdict = rows[last]
        liked[of_row[verdict][likes[verdict] == 0]] = False
    return np.bincount(pairs[liked] % n, minlength=n).astype(np.int32)


def _coded(known: pa.Array | None, column: pa.ChunkedArray) -> tuple[pa.Array, NDArray[np.int32]]:
    """Numbers of the texts of `column` in a list of distinct ones, which grows; with the list."""
    column = column.cast(pa.string())
    fresh = pc.unique(column)
    if known is not None:
        fresh = fresh.filter(pc.invert(pc.is_in(fresh, value_set=known)))
    together = fresh if known is None else pa.concat_arrays([known, fresh])
    return together, pc.index_in(column, value_set=together).to_numpy()
