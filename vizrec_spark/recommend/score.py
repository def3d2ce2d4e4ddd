"""Runs the scoring kernels over a DataFrame of users."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark import Broadcast
from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, DoubleType, IntegerType, MapType, StringType, StructField, StructType

from vizrec_spark.config.models import AlsConfig, RecommendConfig
from vizrec_spark.recommend.blend import Blend, contributions, totals
from vizrec_spark.recommend.describe import describe
from vizrec_spark.recommend.explain import EXPLAINED, causes
from vizrec_spark.recommend.items import ItemSide
from vizrec_spark.recommend.rerank import rerank
from vizrec_spark.recommend.sources import PART_SOURCES, PARTS, SOURCES, used_limits
from vizrec_spark.recommend.users import Users, gather_users
from vizrec_spark.wording import reason

_STRING = StringType()
_TITLE = "\0"  # stands for a title until the title is put there
SCORED = StructType(
    [
        StructField("user_id", _STRING),
        StructField("rank", IntegerType()),
        StructField("item_id", _STRING),
        StructField("score", DoubleType()),
        *(StructField(f"score_{part}", DoubleType()) for part in PARTS),
        StructField("score_boost", DoubleType()),
        StructField("source", _STRING),
        StructField("proposed_by", ArrayType(_STRING)),
        StructField("because_item_id", _STRING),
        StructField("because", MapType(_STRING, _STRING)),
        StructField("reason", _STRING),
    ]
)


class Offers(NamedTuple):
    """m offers of a block, ordered by user and rank.

    `user` (row), `rank` (from 1), `item` (position); `parts` (m, parts) and `boost` (m,) add up to the score;
    `source` (m,) index into `sources.PARTS`; `proposed` (m,) bits; `cause` (m, explained parts) history entry or -1.
    """

    user: NDArray[np.int64]
    rank: NDArray[np.int64]
    item: NDArray[np.int64]
    parts: NDArray[np.float64]
    boost: NDArray[np.float64]
    source: NDArray[np.int64]
    proposed: NDArray[np.uint8]
    cause: NDArray[np.int64]


def recommend_block(
    users: Users, items: ItemSide, blend: Blend, config: RecommendConfig, als: AlsConfig
) -> Offers:
    """The `config.k` items to offer to each user of a block, with what they are made of.

    score = sum over features of weight · feature + the item's boost. An item of which nothing is known stands in a
    list for its popularity.
    """
    limits = used_limits(config.candidates, config.weights)
    # Popularity fills every list, also where near-duplicates and caps take items out of it.
    candidates = describe(users, items, limits, fill=2 * config.k)
    boost = items.boost[candidates.item].astype(np.float64)
    added = contributions(candidates.features, blend.raw)
    score = totals(added) + boost
    late = candidates.proposed == 0
    if late.any():
        # The most popular come first, so that a longer list begins as a shorter one does.
        score[late] = -items.places[users.segment[candidates.user[late]], candidates.item[late]]
    chosen = rerank(candidates.indptr, candidates.item, score, items, config.rerank, config.k, late)
    user, place = np.nonzero(chosen >= 0)
    row = chosen[user, place]
    item = candidates.item[row].astype(np.int64)
    parts = added[row]
    source = _sources(parts, user, added, candidates.indptr, late)
    cause = causes(users, items, user, item, blend.raw, blend.settings.half_life, als)
    # What speaks against an item has no cause to be named.
    cause[parts[:, [PARTS.index(part) for part in EXPLAINED]] <= 0] = -1
    proposed = np.where(late[row], 1 << SOURCES.index("popularity"), candidates.proposed[row])
    return Offers(user, place + 1, item, parts, boost[row], source, proposed.astype(np.uint8), cause)


def _sources(
    parts: NDArray[np.float64],
    user: NDArray[np.int64],
    added: NDArray[np.float64],
    indptr: NDArray[np.int64],
    late: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Which part lifts each offer most above the mean of its user's candidates: index into `sources.PARTS`.

    `parts` (m, parts) of the offers to `user` (m,); `added`: those of all candidates, user i's in rows indptr[i] to
    indptr[i + 1], of which the `late` ones do not count. For a linear score that difference is the part's Shapley value
    with the user's candidates as background (Lundberg and Lee 2017), so what all candidates have alike, such as being
    popular at all, is nobody's reason. A part that does not speak for an item is no source of it; where none does,
    popularity has filled the list.
    """
    held = np.diff(indptr)
    usual = np.zeros((len(held), parts.shape[1]))
    some = np.flatnonzero(held)
    if late.any():
        added = np.where(late[:, None], 0.0, added)
        held[some] -= np.add.reduceat(late, indptr[some], dtype=np.int64)
    if len(some):
        usual[some] = np.add.reduceat(added, indptr[some], axis=0) / np.maximum(held[some], 1)[:, None]
    lift = np.where(parts > 0, parts - usual[user], -np.inf)
    return np.where((parts > 0).any(axis=1), lift.argmax(axis=1), PARTS.index("popularity"))


def score_users(
    rows: DataFrame, items: Broadcast[ItemSide], blend: Blend, config: RecommendConfig, als: AlsConfig
) -> DataFrame:
    """The recommendations of each user in `rows` (see `history.user_rows`); columns as in `SCORED`.

    Users are scored in blocks of `config.block_users`; memory of a task is the item side, a tile of scores and
    some 100 KiB a user of the block, whatever the number of users.
    """

    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for first in range(0, batch.num_rows, config.block_users):
                yield score_batch(batch.slice(first, config.block_users), items.value, blend, config, als)

    return rows.select("user_id", "factors", "history", "segment").mapInArrow(score, SCORED)


def score_batch(
    batch: pa.RecordBatch, side: ItemSide, blend: Blend, config: RecommendConfig, als: AlsConfig
) -> pa.RecordBatch:
    """The recommendations of a block of users (rows as of `history.user_rows`); columns as in `SCORED`."""
    users = users_of(batch, side, blend, config)
    offers = recommend_block(users, side, blend, config, als)
    return _rows(batch.column("user_id"), users, offers, side)


def users_of(batch: pa.RecordBatch, side: ItemSide, blend: Blend, config: RecommendConfig) -> Users:
    """The users of a batch of rows (`history.user_rows`, where `segment` may be left out); what has left the catalogue
    says nothing."""
    n = batch.num_rows
    factors = np.zeros((n, side.factors.shape[1]), dtype=np.float32)
    known = batch.column("factors").is_valid().to_numpy(zero_copy_only=False)
    if known.any():
        flat = batch.column("factors").drop_null().flatten().to_numpy(zero_copy_only=False)
        factors[known] = flat.reshape(int(known.sum()), -1)
    lists = batch.column("history")
    length = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    entries = lists.flatten()
    columns = {f.name: entries.field(i).to_numpy(zero_copy_only=False) for i, f in enumerate(entries.type)}
    position = side.positions(columns["item_id"])
    kept = position >= 0
    grouped = "segment" in batch.schema.names
    return gather_users(
        factors,
        known,
        np.repeat(np.arange(n), length)[kept],
        position[kept],
        columns["weight"][kept],
        columns["time"][kept],
        keep=config.history,
        half_life=blend.settings.half_life,
        event=columns["event"][kept],
        barred=columns["barred"][kept].astype(bool),
        segment=side.segments.positions(batch.column("segment")) if grouped else None,
    )


def _rows(user_ids: pa.Array, users: Users, offers: Offers, side: ItemSide) -> pa.RecordBatch:
    past = np.where(offers.cause >= 0, users.item[offers.cause] if len(users.item) else -1, -1)
    column = np.array([EXPLAINED.index(part) if part in EXPLAINED else -1 for part in PARTS])[offers.source]
    at = np.arange(len(column))
    entry = np.where(column >= 0, offers.cause[at, column], -1)
    because = np.where(column >= 0, past[at, column], -1)
    total = totals(offers.parts) + offers.boost
    columns = [
        user_ids.take(pa.array(offers.user)),
        pa.array(offers.rank.astype(np.int32)),
        _ids(side, offers.item),
        pa.array(total),
        *(pa.array(np.ascontiguousarray(offers.parts[:, i])) for i in range(len(PARTS))),
        pa.array(offers.boost),
        pa.array(PART_SOURCES, pa.string()).take(pa.array(offers.source)),
        _proposers(offers.proposed),
        _ids(side, because),
        _causes(side, past),
        _reasons(users, offers, side, because, entry),
    ]
    return pa.RecordBatch.from_arrays(columns, SCORED.names)


def _reasons(
    users: Users, offers: Offers, side: ItemSide, because: NDArray[np.int64], entry: NDArray[np.int64]
) -> pa.Array:
    """The sentence of each offer, which names the item `because` (-1 for none), met in the history's `entry`.

    What stands around a title is made once for all offers that are alike but for it.
    """
    caused = because >= 0
    event, events = pd.factorize(users.event[entry[caused]], use_na_sentinel=False)
    # A sentence tells what the user did, or, where there is no cause, how many people chose the item.
    told = len(events) + side.people[offers.item]
    told[caused] = event
    alike, first = pd.factorize((told * len(PARTS) + offers.source) * 2 + side.is_new[offers.item])
    around = []
    for key in first.tolist():
        rest, fresh = divmod(key, 2)
        what, source = divmod(rest, len(PARTS))
        cause = (_TITLE, events[what]) if what < len(events) else None
        around.append(reason(PART_SOURCES[source], what - len(events), cause, bool(fresh)).partition(_TITLE))
    before, _, after = zip(*around, strict=True) if around else ((), (), ())
    kind = pa.array(alike)
    title = pc.fill_null(side.arrow_titles.take(pa.array(because, mask=~caused)), "")
    ends = [pa.array(texts, pa.string()).take(kind) for texts in (before, after)]
    return pc.binary_join_element_wise(ends[0], title, ends[1], "")


def _ids(side: ItemSide, position: NDArray[np.int64]) -> pa.Array:
    """Item ids of positions, null for -1."""
    return side.arrow_ids.take(pa.array(position, mask=position < 0))


def _proposers(bits: NDArray[np.uint8]) -> pa.Array:
    """list<string> of the names of the bits."""
    row, which = np.nonzero((bits[:, None] >> np.arange(len(SOURCES), dtype=np.uint8)) & 1)
    offsets = np.searchsorted(row, np.arange(len(bits) + 1)).astype(np.int32)
    names = pa.array(SOURCES, pa.string()).take(pa.array(which))
    return pa.ListArray.from_arrays(pa.array(offsets), names)


def _causes(side: ItemSide, past: NDArray[np.int64]) -> pa.Array:
    """map<string,string> from the part to the past item that did most for it."""
    row, part = np.nonzero(past >= 0)
    offsets = np.searchsorted(row, np.arange(len(past) + 1)).astype(np.int32)
    names = pa.array(EXPLAINED, pa.string()).take(pa.array(part))
    return pa.MapArray.from_arrays(pa.array(offsets), names, _ids(side, past[row, part]))
