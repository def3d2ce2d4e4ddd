"""The events of before this process, where a micro-batch looks up its users: in the driver's memory, or persisted."""

from __future__ import annotations

from copy import copy
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vizrec_spark.tables.schemas import INTERACTIONS

KEY = INTERACTIONS.key
_MET = ("event_id", *KEY)

_AT_ONCE = 100_000  # texts that are Python objects at a time


class Held(Protocol):
    """Tables `interactions` and `live_events` as they were when it was made."""

    n_live: int
    """Rows of `live_events`."""

    def of(self, users: pa.Array) -> tuple[pa.Table, pa.Table]:
        """The events of `users` (string), of each table, in the columns of `interactions`."""
        ...

    def like(self, events: pa.Table) -> pa.Table:
        """`event_id` and the key of `interactions` of at least those live events that have the id, or the key, of one
        of `events` (columns of `live_events`)."""
        ...

    def grown(self, tail: pa.Table) -> bool:
        """Takes live events (columns of `live_events`) in that have been appended since; False where it cannot."""
        ...

    def close(self) -> None:
        """Lets go of it."""
        ...


class InMemory:
    """As Arrow tables in the driver: looked up without a job, in a time that does not depend on their size."""

    def __init__(self, log: DataFrame, live: DataFrame, most: int) -> None:
        """`most`: rows of both that it holds."""
        self._most = most
        self._log = log.select(*INTERACTIONS.columns).toArrow().combine_chunks()
        self._live = live.select("event_id", *INTERACTIONS.columns).toArrow().combine_chunks()
        self._log_users = _Index(self._log["user_id"])
        self._live_users, self._live_ids = (_Index(self._live[name]) for name in ("user_id", "event_id"))
        self.n_live = len(self._live)

    def of(self, users: pa.Array) -> tuple[pa.Table, pa.Table]:
        """See `Held`."""
        logged = self._log.take(self._log_users.rows(users))
        streamed = self._live.take(self._live_users.rows(users)).drop_columns("event_id")
        return tuple(some.filter(pc.is_in(some["user_id"], value_set=users)) for some in (logged, streamed))

    def like(self, events: pa.Table) -> pa.Table:
        """See `Held`."""
        rows = (self._live_ids.rows(events["event_id"]), self._live_users.rows(events["user_id"]))
        return self._live.take(np.union1d(*rows)).select(_MET)

    def grown(self, tail: pa.Table) -> bool:
        """See `Held`."""
        if len(self._log) + len(self._live) + len(tail) > self._most:
            return False
        more = tail.select(self._live.column_names).cast(self._live.schema)
        self._live = pa.concat_tables([self._live, more]).combine_chunks()
        self._live_users, self._live_ids = (
            index.with_more(more[name])
            for index, name in ((self._live_users, "user_id"), (self._live_ids, "event_id"))
        )
        self.n_live = len(self._live)
        return True

    def close(self) -> None:
        """Lets go of it."""
        self._log, self._live = self._log.slice(0, 0), self._live.slice(0, 0)
        self._log_users = self._live_users = self._live_ids = _Index(self._live["user_id"])


class _Index:
    """Where a column of texts has a value: its 64-bit hashes in order, and the rows that they are of."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._hashes, self._rows = _ordered(_hashes(column), 0)

    def rows(self, values: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
        """In ascending order at least the rows that have one of `values`; another has the same hash, if any."""
        wanted = np.unique(_hashes(values))
        first = np.searchsorted(self._hashes, wanted)
        counts = np.searchsorted(self._hashes, wanted, side="right") - first
        ends = np.cumsum(counts)
        at = np.repeat(first - (ends - counts), counts) + np.arange(counts.sum())
        return np.sort(self._rows[at])

    def with_more(self, column: pa.ChunkedArray) -> _Index:
        """The index of the same column with these values behind it."""
        hashes, rows = _ordered(_hashes(column), len(self._rows))
        at = np.searchsorted(self._hashes, hashes, side="right")
        both = copy(self)
        both._hashes, both._rows = np.insert(self._hashes, at, hashes), np.insert(self._rows, at, rows)
        return both


def _hashes(column: pa.Array | pa.ChunkedArray) -> NDArray[np.uint64]:
    found = np.empty(len(column), dtype=np.uint64)
    for first in range(0, len(column), _AT_ONCE):
        piece = column.slice(first, _AT_ONCE)
        whole = piece.combine_chunks() if isinstance(piece, pa.ChunkedArray) else piece
        coded = pc.dictionary_encode(whole)
        texts = coded.dictionary.to_numpy(zero_copy_only=False).astype(object)
        hashed: NDArray[np.uint64] = pd.util.hash_array(texts, categorize=False)
        found[first : first + len(whole)] = hashed[coded.indices.to_numpy()]
    return found


def _ordered(hashes: NDArray[np.uint64], first: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    order = np.argsort(hashes, kind="stable")
    return hashes[order], order + first


class Persisted:
    """By Spark, in memory and where that is short on disk: each look-up is a job."""

    def __init__(self, spark: SparkSession, log: DataFrame, live: DataFrame) -> None:
        self._spark = spark
        self._log = log.select(*INTERACTIONS.columns).persist()
        self._live = live.select("event_id", *INTERACTIONS.columns).persist()
        self._log.count()
        self.n_live = self._live.count()

    def of(self, users: pa.Array) -> tuple[pa.Table, pa.Table]:
        """See `Held`."""
        some = F.broadcast(self._spark.createDataFrame(pa.table({"user_id": users})))
        said = self._log.withColumn("_live", F.lit(False))
        if self.n_live:
            said = said.unionByName(self._live.drop("event_id").withColumn("_live", F.lit(True)))
        found = said.join(some, "user_id", "left_semi").select(*INTERACTIONS.columns, "_live").toArrow()
        live = found["_live"]
        return tuple(found.filter(rows).drop_columns("_live") for rows in (pc.invert(live), live))

    def like(self, events: pa.Table) -> pa.Table:
        """See `Held`."""
        ids, pairs = (
            F.broadcast(self._spark.createDataFrame(events.select(names).group_by(names).aggregate([])))
            for names in (["event_id"], ["user_id", "item_id"])
        )
        live = self._live.select(*_MET)
        met = live.join(pairs, ["user_id", "item_id"], "left_semi").select(*_MET)
        return met.union(live.join(ids, "event_id", "left_semi").select(*_MET)).toArrow()

    def grown(self, tail: pa.Table) -> bool:
        """See `Held`."""
        return False

    def close(self) -> None:
        """Lets go of it."""
        self._log.unpersist()
        self._live.unpersist()
