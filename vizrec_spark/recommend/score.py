"""Runs the scoring kernel over a DataFrame of users."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import DataFrame
from pyspark.sql.types import DoubleType, IntegerType, StringType, StructField, StructType

from vizrec_spark.config.models import RecommendConfig
from vizrec_spark.recommend.blend import SOURCES, Ranked, recommend_block
from vizrec_spark.recommend.items import ItemSide
from vizrec_spark.recommend.pairs import Users
from vizrec_spark.wording import reason

_STRING = StringType()
SCORED = StructType(
    [
        StructField("user_id", _STRING),
        StructField("rank", IntegerType()),
        StructField("item_id", _STRING),
        StructField("score", DoubleType()),
        StructField("score_cf", DoubleType()),
        StructField("score_visual", DoubleType()),
        StructField("score_popularity", DoubleType()),
        StructField("source", _STRING),
        StructField("because_item_id", _STRING),
        StructField("reason", _STRING),
    ]
)


def score_users(rows: DataFrame, items: Broadcast[ItemSide], config: RecommendConfig) -> DataFrame:
    """The recommendations of each user in `rows` (see `user_rows`); columns as in `SCORED`.

    Users are scored in blocks of `config.block_users`; what a task needs for scores grows with a block's candidates
    and look-alikes, whatever the number of users and items. A user's rows depend on nobody else in the block.
    """

    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        side = items.value
        for batch in batches:
            for first in range(0, batch.num_rows, config.block_users):
                part = batch.slice(first, config.block_users)
                users = _users(part, side)
                yield _rows(part.column("user_id"), users, recommend_block(users, side, config), side)

    return rows.select("user_id", "factors", "history").mapInArrow(score, SCORED)


def _users(batch: pa.RecordBatch, side: ItemSide) -> Users:
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
    kept = position >= 0  # what has left the catalogue says nothing here
    return Users(
        factors,
        known,
        np.repeat(np.arange(n), length)[kept],
        position[kept],
        columns["weight"][kept],
        columns["event"][kept],
        columns["time"][kept],
    )


def _rows(user_ids: pa.Array, users: Users, ranked: Ranked, side: ItemSide) -> pa.RecordBatch:
    cause = ranked.cause
    because = np.where(cause >= 0, users.item[cause] if len(users.item) else -1, -1)
    sources = [SOURCES[s] for s in ranked.source]
    reasons = [
        reason(source, int(side.people[item]), (side.titles[b], users.event[c]) if b >= 0 else None)
        for source, item, b, c in zip(sources, ranked.item, because, cause, strict=True)
    ]
    columns = [
        user_ids.take(pa.array(ranked.user)),
        pa.array(ranked.rank.astype(np.int32)),
        pa.array(side.ids[ranked.item], pa.string()),
        pa.array(ranked.parts.sum(axis=1)),
        *(pa.array(np.ascontiguousarray(ranked.parts[:, i])) for i in range(len(SOURCES))),
        pa.array(sources, pa.string()),
        pa.array([side.ids[b] if b >= 0 else None for b in because], pa.string()),
        pa.array(reasons, pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, SCORED.names)
