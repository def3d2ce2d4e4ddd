"""From whole histories to lists: fold-in, the scorer of stage `recommend`, one row a user."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vizrec_spark.config.models import RecommendConfig
from vizrec_spark.errors import TableError
from vizrec_spark.recommend.score import score_batch
from vizrec_spark.retrieval.fold_in import solve
from vizrec_spark.stream.resident import Resident
from vizrec_spark.tables.schemas.stream import LIVE_RECOMMENDATIONS, OFFER

_BLOCK = 64
"""Users a thread scores at a time."""


def folded_in(rows: pa.Table, resident: Resident) -> pa.RecordBatch:
    """`user_id`, `factors` (null where nothing speaks for any), `history` of `pairs.user_rows`."""
    ordered = rows.combine_chunks()
    if resident.fixed is None or resident.fixed_gram is None:
        factors = pa.nulls(len(ordered), pa.list_(pa.float32()))
    else:
        liked = ordered["liked"].combine_chunks()
        solved, has = solve(liked, resident.fixed, resident.fixed_gram, resident.als)
        factors = _lists_of(solved, has)
    columns = [ordered["user_id"].combine_chunks(), factors, ordered["history"].combine_chunks()]
    return pa.RecordBatch.from_arrays(columns, ["user_id", "factors", "history"])


def warm_up(resident: Resident, config: RecommendConfig) -> None:
    """Makes a list for nobody, so that the kernels are compiled before the first user waits for one."""
    item = resident.hybrid.side.ids[:1].tolist()
    past = {"event": "view", "weight": 1.0, "time": 0.0, "barred": True}
    texts = {"item_id": pa.string(), "event": pa.string()}
    kinds = pa.struct({**texts, "weight": pa.float64(), "time": pa.float64(), "barred": pa.bool_()})
    liked = pa.struct([("id", pa.string()), ("preference", pa.float32())])
    rows = pa.table(
        {
            "user_id": pa.array([""]),
            "history": pa.array([[{"item_id": one, **past} for one in item]], pa.list_(kinds)),
            "liked": pa.array([[{"id": one, "preference": 1.0} for one in item]], pa.list_(liked)),
        }
    )
    hybrid = resident.hybrid
    score_batch(folded_in(rows, resident), hybrid.side, hybrid.blend, config, resident.als)


def live_rows(
    rows: pa.RecordBatch,
    resident: Resident,
    config: RecommendConfig,
    latest: int,
    made_at: datetime,
    batch: int,
    threads: Executor,
) -> Iterator[pa.Table]:
    """The rows of table `live_recommendations` for `rows` (`folded_in`), a block of users at a time."""
    blocks = [rows.slice(at, _BLOCK) for at in range(0, rows.num_rows, _BLOCK)]
    hybrid = resident.hybrid

    def scored(block: pa.RecordBatch) -> pa.RecordBatch:
        return score_batch(block, hybrid.side, hybrid.blend, config, resident.als)

    for block, offers in zip(blocks, threads.map(scored, blocks), strict=True):
        n = block.num_rows
        met, moment = _latest(block.column("history"), latest)
        yield pa.table(
            {
                "user_id": block.column("user_id"),
                "offers": _nested(offers, block.column("user_id")),
                "latest": met,
                "last_event_at": moment,
                "updated_at": pa.array([made_at] * n, pa.timestamp("us", "UTC")),
                "batch": pa.array([batch] * n, pa.int64()),
                "model_id": pa.array([resident.model_id] * n, pa.string()),
                "encoder_id": pa.array([resident.encoder_id] * n, pa.string()),
            }
        )


def _nested(offers: pa.RecordBatch, users: pa.Array) -> pa.ListArray:
    """The offers of each of `users` as one list; `offers` are in their order, by rank."""
    position = pc.index_in(offers.column("user_id"), value_set=users).to_numpy()
    bounds = np.searchsorted(position, np.arange(len(users) + 1)).astype(np.int32)
    place = np.arange(len(position)) - bounds[position]
    if not np.array_equal(offers.column("rank").to_numpy(), place + 1):
        raise TableError(
            f"Table {LIVE_RECOMMENDATIONS.name}: the offers of a list do not have the ranks 1, 2, 3, ..."
        )
    structs = pa.StructArray.from_arrays([offers.column(name) for name in OFFER.names], OFFER.names)
    return pa.ListArray.from_arrays(pa.array(bounds), structs)


def _latest(histories: pa.ListArray, most: int) -> tuple[pa.ListArray, pa.Array]:
    """The items that each user met last, the latest first, those of one moment by id; and when the latest was."""
    entries = histories.flatten()
    items, times = entries.field("item_id"), entries.field("time").to_numpy(zero_copy_only=False)
    lengths = histories.value_lengths().to_numpy(zero_copy_only=False)
    user = np.repeat(np.arange(len(histories)), lengths)
    by_id = np.asarray(pc.rank(items, tiebreaker="dense")) if len(items) else np.zeros(0, np.int64)
    order = np.lexsort((by_id, -times, user))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    place = np.arange(len(order)) - np.repeat(starts[:-1], lengths)
    kept = order[place < most]
    ends = np.concatenate([[0], np.cumsum(np.minimum(lengths, most))]).astype(np.int32)
    last = np.rint(times[order[starts[:-1]]] * 1e6).astype(np.int64)
    return (
        pa.ListArray.from_arrays(pa.array(ends), items.take(pa.array(kept))),
        pa.array(last).cast(pa.timestamp("us", "UTC")),
    )


def _lists_of(factors: NDArray[np.float32], has: NDArray[np.bool_]) -> pa.ListArray:
    rank = factors.shape[1]
    ends = np.concatenate([[0], np.cumsum(np.where(has, rank, 0))]).astype(np.int32)
    flat = pa.array(factors[has].ravel())
    return pa.ListArray.from_arrays(pa.array(ends), flat, mask=pa.array(~has))
