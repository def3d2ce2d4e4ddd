"""The lists of tables `item_neighbors`, `recommendations` and `live_recommendations` as arrays: a list is a slice."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vizrec_spark.serve.catalogue import Catalogue
from vizrec_spark.serve.delta import Opened
from vizrec_spark.serve.texts import SortedTexts, Texts

PARTS: Final = ("cf", "cooccurrence", "visual", "attributes", "popularity", "boost")
"""What adds up to a score: columns `score_*` of `recommendations`."""

_TEXTS: Final = ("user_id", "item_id", "source", "because_item_id", "reason", "model_id", "encoder_id")
_SCORES: Final = tuple(f"score_{part}" for part in PARTS)
_NAMES: Final = (*_TEXTS, "rank", *_SCORES)

SOURCE_NAMES: Final = ("als", "cooccurrence", "visual", "attributes", "popularity")
"""Column `source` of `recommendations`, in the order of `PARTS`; a boost is no source."""


@dataclass(frozen=True)
class Neighbors:
    """The look-alikes of item i, nearest first: ``item[start[i]:start[i + 1]]`` (positions) with their cosines beside.

    `strength` is the cosine measured from that of a random pair, 0 to 1, as stage `recommend` has it.
    """

    encoder_id: str
    mean_cosine: float
    start: NDArray[np.int64]
    item: NDArray[np.int32]
    cosine: NDArray[np.float32]

    def of(self, item: int) -> slice:
        """Where the look-alikes of an item stand."""
        return slice(int(self.start[item]), int(self.start[item + 1]))

    def strength(self, where: slice | NDArray[np.int64]) -> NDArray[np.float64]:
        """Of the rows `where`: max(0, (cosine − mean) / (1 − mean))."""
        above = self.cosine[where].astype(np.float64) - self.mean_cosine
        return np.clip(above / max(1.0 - self.mean_cosine, 1e-6), 0.0, 1.0)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return int(self.start.nbytes + self.item.nbytes + self.cosine.nbytes)


@dataclass(frozen=True)
class Offers:
    """What table `recommendations` offers to each user, best first: rows ``start[u]`` to ``start[u + 1] − 1``.

    `item` and `because` (−1: none) are positions in the catalogue; `parts` (m, 6) float32 what each of `PARTS` adds;
    `source` the number of a name in `SOURCE_NAMES`; `reason` the number of a text in `reasons`. `model_ids` and
    `encoder_ids` are all that the rows name, in most cases one each.
    """

    users: SortedTexts
    start: NDArray[np.int64]
    item: NDArray[np.int32]
    parts: NDArray[np.float32]
    because: NDArray[np.int32]
    source: NDArray[np.uint8]
    reason: NDArray[np.int32]
    reasons: Texts
    model_ids: tuple[str, ...]
    encoder_ids: tuple[str, ...]

    def of(self, user_id: str) -> range | None:
        """The rows of a user; None for one that the table does not know, or whose items have all left."""
        user = self.users.position(user_id)
        if user < 0 or self.start[user] == self.start[user + 1]:
            return None
        return range(int(self.start[user]), int(self.start[user + 1]))

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        arrays = (self.start, self.item, self.parts, self.because, self.source, self.reason)
        return int(sum(a.nbytes for a in arrays) + self.users.nbytes + self.reasons.nbytes)


LATEST: Final = 100
"""Users with new lists who are known by age."""

LIVE_MOST_S: Final = 86_400.0
"""Older live lists are shown to nobody; stage `stream` drops them."""


@dataclass(frozen=True)
class Live:
    """What table `live_recommendations` offers; `made_at` (users,): when, in seconds since 1970, in the order of
    `offers.users`. `version` is the table's. A list counts for `seconds` from then, and for a day while those of the
    batch run are older than it. `newest_at`: when the table's newest list was made, whether it counts or not (None: it
    has none)."""

    version: int
    offers: Offers
    made_at: NDArray[np.float64]
    seconds: float
    newest_at: float | None = None
    by_age: NDArray[np.int64] = field(init=False)
    """Users, as positions, who got their list last; the first `LATEST`."""

    def __post_init__(self) -> None:
        # Here, where lists are read, and not when it is first wanted, which is where everybody is answered.
        object.__setattr__(self, "by_age", np.argsort(-self.made_at, kind="stable")[:LATEST])

    def of(self, user_id: str, now: float, batch_at: float) -> range | None:
        """The rows of a user that count at `now`, with lists of a batch run from `batch_at`."""
        user = self.offers.users.position(user_id)
        if user < 0 or self.made_at[user] < _oldest(now, batch_at, self.seconds):
            return None
        return self.offers.of(user_id)

    def made(self, user_id: str) -> float | None:
        """When the list of a user was made, in seconds since 1970; None where there is none."""
        user = self.offers.users.position(user_id)
        return None if user < 0 else float(self.made_at[user])

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return int(self.offers.nbytes + self.made_at.nbytes)


def read_neighbors(
    table: Opened, quality: Opened | None, encoder_id: str, catalogue: Catalogue
) -> Neighbors | None:
    """The look-alikes under one encoder; None where stage `similar` has none of it.

    Rows about items that have left the catalogue are left out. Raises: TableError.
    """
    of, rank, to, cosine = [], [], [], []
    where = {"encoder_id": encoder_id}
    names = ("item_id", "rank", "neighbor_id", "cosine")
    for piece in table.pieces(names, texts=("item_id", "neighbor_id"), where=where):
        of.append(catalogue.ids.positions(piece.data["item_id"]))
        to.append(catalogue.ids.positions(piece.data["neighbor_id"]))
        rank.append(piece.data["rank"].to_numpy())
        cosine.append(piece.data["cosine"].to_numpy())
    if not of:
        return None
    item, neighbor = np.concatenate(of), np.concatenate(to)
    kept = np.flatnonzero((item >= 0) & (neighbor >= 0))
    order = kept[_in_order(item[kept], np.concatenate(rank)[kept])]
    measured = None if quality is None else quality.table(("mean_cosine",), where={"encoder_id": encoder_id})
    return Neighbors(
        encoder_id,
        0.0 if measured is None else float(measured["mean_cosine"][0].as_py()),
        _starts(item[order], len(catalogue)),
        neighbor[order],
        np.concatenate(cosine)[order],
    )


def read_offers(table: Opened, catalogue: Catalogue) -> Offers:
    """All of table `recommendations`; rows that offer an item which has left the catalogue are left out.

    Raises: TableError.
    """
    return _offers_of([piece.data for piece in table.pieces(_NAMES, texts=_TEXTS)], catalogue)


def _oldest(now: float, batch_at: float, seconds: float) -> float:
    """When a live list must have been made to count, see `Live`."""
    return max(now - LIVE_MOST_S, min(now - seconds, batch_at))


def read_live(table: Opened, catalogue: Catalogue, seconds: float, batch_at: float) -> Live:
    """Table `live_recommendations`, whose lists count for `seconds` (see `Live`); those that count no more are left
    out. Raises: TableError."""
    pieces, users, moments = [], [], []
    newest: float | None = None
    oldest = datetime.fromtimestamp(_oldest(time.time(), batch_at, seconds), UTC)
    for piece in table.pieces(table.source.columns):
        at = pc.cast(piece.data["updated_at"], pa.timestamp("us", "UTC"))
        if len(at):
            newest = max(newest or 0.0, pc.max(pc.cast(at, pa.int64())).as_py() / 1e6)
        fresh = pc.greater_equal(at, oldest)
        data = piece.data.filter(fresh).combine_chunks()
        if not len(data):
            continue
        lists = data["offers"].combine_chunks()
        entries = lists.flatten()
        owner = np.repeat(np.arange(len(data)), lists.value_lengths().to_numpy(zero_copy_only=False))
        own = {name: data[name].take(pa.array(owner)) for name in ("user_id", "model_id", "encoder_id")}
        listed = {name: entries.field(name) for name in _NAMES if name not in own}
        pieces.append(pa.table({**own, **listed}))
        users.append(data["user_id"])
        moments.append(pc.cast(pc.cast(data["updated_at"], pa.timestamp("us", "UTC")), pa.int64()).to_numpy())
    offers = _offers_of(pieces, catalogue)
    made_at = np.zeros(len(offers.users))
    for column, micros in zip(users, moments, strict=True):
        user = offers.users.positions(column)
        made_at[user[user >= 0]] = micros[user >= 0] / 1e6
    return Live(table.version, offers, made_at, seconds, newest)


def _offers_of(pieces: list[pa.Table], catalogue: Catalogue) -> Offers:
    """`Offers` of tables with the columns `_NAMES`."""
    if not pieces:
        nothing = {name: pa.array([], pa.string()) for name in _TEXTS}
        numbers = {name: pa.array([], pa.float64()) for name in _NAMES if name not in _TEXTS}
        pieces = [pa.table({**nothing, **numbers})]
    users = SortedTexts(_distinct(pieces, "user_id"))
    reasons = _distinct(pieces, "reason")
    sources = SortedTexts(pa.array(sorted(SOURCE_NAMES)))
    number_of_source = np.array([SOURCE_NAMES.index(sources[i]) for i in range(len(sources))], dtype=np.uint8)

    def joined(name: str, known: SortedTexts) -> NDArray[np.int32]:
        return np.concatenate([known.positions(piece[name]) for piece in pieces])

    user, item = joined("user_id", users), joined("item_id", catalogue.ids)
    rank = np.concatenate([piece["rank"].to_numpy() for piece in pieces])
    kept = np.flatnonzero(item >= 0)
    order = kept[_in_order(user[kept], rank[kept])]
    parts = np.empty((len(order), len(PARTS)), dtype=np.float32)
    for column, name in enumerate(_SCORES):
        parts[:, column] = np.concatenate([piece[name].to_numpy() for piece in pieces])[order]
    return Offers(
        users,
        _starts(user[order], len(users)),
        item[order],
        parts,
        joined("because_item_id", catalogue.ids)[order],
        number_of_source[joined("source", sources)][order],
        joined("reason", SortedTexts(reasons))[order],
        Texts(reasons),
        tuple(_distinct(pieces, "model_id").to_pylist()),
        tuple(_distinct(pieces, "encoder_id").to_pylist()),
    )


def _distinct(pieces: Sequence[pa.Table], name: str) -> pa.Array:
    """The distinct texts of a column in ascending order, without null; of dictionaries all entries."""
    entries = []
    for piece in pieces:
        for chunk in piece[name].chunks:
            # An entry that no row has any more costs a few bytes; to look for it would cost a pass over the rows.
            entries.append(
                (chunk.dictionary if isinstance(chunk, pa.DictionaryArray) else chunk).cast(pa.string())
            )
    if not entries:
        return pa.array([], pa.string())
    found = pc.unique(pa.chunked_array(entries)).drop_null()
    return found.take(pc.sort_indices(found))


def _in_order(group: NDArray[np.int32], rank: NDArray[np.int32]) -> NDArray[np.int64]:
    """The order by group and rank within it; nearly nothing to do where the table is written in it."""
    key = group.astype(np.int64) << 32 | rank.astype(np.int64)
    return np.argsort(key, kind="stable")


def _starts(group: NDArray[np.int32], groups: int) -> NDArray[np.int64]:
    """Where each group begins in rows that are ordered by it, and behind the last the number of rows."""
    start = np.zeros(groups + 1, dtype=np.int64)
    np.cumsum(np.bincount(group, minlength=groups), out=start[1:])
    return start
