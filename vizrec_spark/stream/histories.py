"""The whole history of the users at hand: what the log says, what came over the stream, and what has just come."""

from __future__ import annotations

import time

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vizrec_spark.stream.commits import in_peace
from vizrec_spark.stream.pairs import Rows, rows_of
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.schemas import INTERACTIONS, LIVE_EVENTS

KEY = INTERACTIONS.key


class Histories:
    """Tables `interactions` and `live_events` as they are, persisted, and behind them a tail of later live events.

    The tail is what this process has appended since, in the driver's memory: at most `most` events and those of one
    micro-batch, then all is read anew, as it is with a new version of `interactions`, looked for at most every
    `seconds`. Nobody else writes `live_events`. What is persisted goes to disk where memory is short.

    `within`: seconds in which an event of the log and a live one are the same (`pairs.rows_of`).
    """

    def __init__(
        self, spark: SparkSession, tables: TableStore, most: int, seconds: float, within: float
    ) -> None:
        self._spark, self._tables, self._most, self._seconds = spark, tables, most, seconds
        self._within = within
        self._version: int | None = None
        self._looked = 0.0
        self._tail: pa.Table | None = None
        self._kept: tuple[DataFrame, DataFrame] | None = None
        self._live_rows = 0

    def refresh(self) -> None:
        """Reads the tables anew where they have changed, or the tail has grown long; compacts `live_events` then."""
        now = time.monotonic()
        looks = now - self._looked >= self._seconds
        version = self._log_version() if looks else self._version
        if self._kept is not None and version == self._version and self._tail_rows() < self._most:
            self._looked = now if looks else self._looked
            return
        self.close()
        self._version, self._looked = self._log_version(), now
        if self._tables.exists(LIVE_EVENTS):
            in_peace(lambda: self._tables.compact(LIVE_EVENTS))
        log = self._tables.pinned_or_empty(INTERACTIONS).persist()
        live = self._tables.pinned_or_empty(LIVE_EVENTS).select("event_id", *INTERACTIONS.columns).persist()
        self._kept = (log, live)
        log.count()
        self._live_rows = live.count()

    def known(self, events: pa.Table) -> tuple[pa.Array, pa.Array]:
        """Which of `events` (columns of `live_events`) are in that table already, and which are not but have the id of
        another one there: booleans.

        Live events come from one source with one precision, so keys are compared to the microsecond.
        """
        keys = _key_of(events)
        nothing = pa.array([False] * len(events), pa.bool_())
        known, named = nothing, nothing
        found = [] if self._tail is None else [self._tail]
        if self._live_rows:
            found.append(self._live_like(events))
        for rows in found:
            known = pc.or_(known, pc.is_in(keys, value_set=_key_of(rows)))
            ids = pc.is_in(events["event_id"].combine_chunks(), value_set=rows["event_id"].combine_chunks())
            named = pc.or_(named, ids)
        return known, pc.and_(named, pc.invert(known))

    def of(self, users: pa.Array, new: pa.Table) -> Rows:
        """All events of `users` (string, each once), those of `new` (columns of `live_events`) among them.

        One Spark job over what is persisted.
        """
        assert self._kept is not None, "refresh first"
        log, live = (frame.select(*INTERACTIONS.columns) for frame in self._kept)
        some = F.broadcast(self._spark.createDataFrame(pa.table({"user_id": users})))
        said = log.withColumn("_live", F.lit(False))
        if self._live_rows:
            said = said.unionByName(live.withColumn("_live", F.lit(True)))
        found = said.join(some, "user_id", "left_semi").select(*INTERACTIONS.columns, "_live").toArrow()
        held = found.filter(found["_live"]).drop_columns("_live")
        streamed = [held, new.select(INTERACTIONS.columns).cast(held.schema)]
        if self._tail is not None:
            own = self._tail.filter(pc.is_in(self._tail["user_id"], value_set=users))
            streamed.append(own.select(INTERACTIONS.columns).cast(held.schema))
        logged = found.filter(pc.invert(found["_live"])).drop_columns("_live")
        return rows_of(logged, pa.concat_tables(streamed), self._within)

    def appended(self, new: pa.Table) -> None:
        """Says that `new` (columns of `live_events`) now stands in the table."""
        self._tail = new if self._tail is None else pa.concat_tables([self._tail, new]).combine_chunks()

    def close(self) -> None:
        """Lets go of what is persisted."""
        for frame in self._kept or ():
            frame.unpersist()
        self._kept, self._tail, self._live_rows = None, None, 0

    def _log_version(self) -> int | None:
        return self._tables.version(INTERACTIONS) if self._tables.exists(INTERACTIONS) else None

    def _tail_rows(self) -> int:
        return 0 if self._tail is None else len(self._tail)

    def _live_like(self, events: pa.Table) -> pa.Table:
        """Rows of the persisted live events that have the id, or the user and the item, of one of `events`."""
        assert self._kept is not None, "refresh first"
        live = self._kept[1].select("event_id", *KEY)
        ids, pairs = (
            F.broadcast(self._spark.createDataFrame(events.select(names).group_by(names).aggregate([])))
            for names in (["event_id"], ["user_id", "item_id"])
        )
        met = live.join(pairs, ["user_id", "item_id"], "left_semi").select("event_id", *KEY)
        return met.union(live.join(ids, "event_id", "left_semi").select("event_id", *KEY)).toArrow()


def _key_of(events: pa.Table) -> pa.Array:
    """The key of each event as one text; the lengths in front keep apart whatever ids may hold."""
    texts = [events[name].combine_chunks().cast(pa.string()) for name in KEY[:3]]
    lengths = [pc.binary_length(text).cast(pa.string()) for text in texts]
    moment = pc.cast(pc.cast(events["timestamp"], pa.timestamp("us", "UTC")), pa.int64()).cast(pa.string())
    return pc.binary_join_element_wise(*lengths, moment.combine_chunks(), *texts, " ")
