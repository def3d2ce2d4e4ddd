"""The events of before this process, where a micro-batch looks up its users: in the driver's memory, or persisted."""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vizrec_spark.tables.schemas import INTERACTIONS

KEY = INTERACTIONS.key
_MET = ("event_id", *KEY)


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
    """As Arrow tables in the driver: looked up without a job."""

    def __init__(self, log: DataFrame, live: DataFrame, most: int) -> None:
        """`most`: rows of both that it holds."""
        self._most = most
        self._log = log.select(*INTERACTIONS.columns).toArrow().combine_chunks()
        self._live = live.select("event_id", *INTERACTIONS.columns).toArrow().combine_chunks()
        self.n_live = len(self._live)

    def of(self, users: pa.Array) -> tuple[pa.Table, pa.Table]:
        """See `Held`."""
        logged, streamed = (
            table.filter(pc.is_in(table["user_id"], value_set=users)) for table in (self._log, self._live)
        )
        return logged, streamed.drop_columns("event_id")

    def like(self, events: pa.Table) -> pa.Table:
        """See `Held`."""
        ids, users = (
            pc.is_in(self._live[name], value_set=events[name].combine_chunks())
            for name in ("event_id", "user_id")
        )
        return self._live.filter(pc.or_(ids, users)).select(_MET)

    def grown(self, tail: pa.Table) -> bool:
        """See `Held`."""
        if len(self._log) + len(self._live) + len(tail) > self._most:
            return False
        more = tail.select(self._live.column_names).cast(self._live.schema)
        self._live = pa.concat_tables([self._live, more]).combine_chunks()
        self.n_live = len(self._live)
        return True

    def close(self) -> None:
        """Lets go of it."""
        self._log, self._live = self._log.slice(0, 0), self._live.slice(0, 0)


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
