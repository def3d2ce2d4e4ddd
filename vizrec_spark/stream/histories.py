"""The whole history of the users at hand: what the log says, what came over the stream, and what has just come."""

from __future__ import annotations

import time

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession

from vizrec_spark.stream.held import KEY, Held, InMemory, Persisted
from vizrec_spark.stream.pairs import Rows, rows_of
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.schemas import INTERACTIONS, LIVE_EVENTS

_HELD_S = 43_200.0 * LIVE_EVENTS.log_days


class Histories:
    """Tables `interactions` and `live_events` as they are, held, and behind them a tail of later live events.

    They are held in the driver's memory where they have at most `in_memory` events together, else by Spark. The tail is
    what this process has appended since, in the driver's memory: at most `most` events and those of one micro-batch.
    Then it joins what is held, or where that cannot be, all is read anew, as it is with a new version of
    `interactions`, looked for at most every `seconds`, and after half the time for which files of an old version of
    `live_events` stay: an executor that is lost has to read them again. Nobody else writes `live_events`.

    `within`: seconds in which an event of the log and a live one are the same (`pairs.rows_of`).
    """

    def __init__(
        self,
        spark: SparkSession,
        tables: TableStore,
        in_memory: int,
        most: int,
        seconds: float,
        within: float,
    ) -> None:
        self._spark, self._tables, self._in_memory = spark, tables, in_memory
        self._most, self._seconds, self._within = most, seconds, within
        self._version: int | None = None
        self._looked = self._read = 0.0
        self._tail: pa.Table | None = None
        self._held: Held | None = None

    def refresh(self) -> None:
        """Reads the tables anew where they have changed, or the tail has grown too long for what is held."""
        now = time.monotonic()
        looks = now - self._looked >= self._seconds
        version = self._log_version() if looks else self._version
        lasts = now - self._read < _HELD_S
        if self._held is not None and version == self._version and lasts and self._has_room(self._held):
            self._looked = now if looks else self._looked
            return
        self.close()
        self._version, self._looked, self._read = self._log_version(), now, now
        log, live = (self._tables.pinned_or_empty(table) for table in (INTERACTIONS, LIVE_EVENTS))
        if log.count() + live.count() <= self._in_memory:
            self._held = InMemory(log, live, self._in_memory)
        else:
            self._held = Persisted(self._spark, log, live)

    def known(self, events: pa.Table) -> tuple[pa.Array, pa.Array]:
        """Which of `events` (columns of `live_events`) are in that table already, and which are not but have the id of
        another one there: booleans.

        Live events come from one source with one precision, so keys are compared to the microsecond.
        """
        keys = key_of(events)
        nothing = pa.array([False] * len(events), pa.bool_())
        known, named = nothing, nothing
        found = [] if self._tail is None else [self._tail]
        if self._held is not None and self._held.n_live:
            found.append(self._held.like(events))
        for rows in found:
            known = pc.or_(known, pc.is_in(keys, value_set=key_of(rows)))
            ids = pc.is_in(events["event_id"].combine_chunks(), value_set=rows["event_id"].combine_chunks())
            named = pc.or_(named, ids)
        return known, pc.and_(named, pc.invert(known))

    def of(self, users: pa.Array, new: pa.Table) -> Rows:
        """All events of `users` (string, each once), `new` (columns of `live_events`, of these users) among them."""
        assert self._held is not None, "refresh first"
        logged, held = self._held.of(users)
        streamed = [held, new.select(INTERACTIONS.columns).cast(held.schema)]
        if self._tail is not None:
            own = self._tail.filter(pc.is_in(self._tail["user_id"], value_set=users))
            streamed.append(own.select(INTERACTIONS.columns).cast(held.schema))
        return rows_of(logged, pa.concat_tables(streamed), self._within)

    def appended(self, new: pa.Table) -> None:
        """Says that `new` (columns of `live_events`) now stands in the table."""
        self._tail = new if self._tail is None else pa.concat_tables([self._tail, new]).combine_chunks()

    def close(self) -> None:
        """Lets go of what is held."""
        if self._held is not None:
            self._held.close()
        self._held, self._tail = None, None

    def _log_version(self) -> int | None:
        return self._tables.version(INTERACTIONS) if self._tables.exists(INTERACTIONS) else None

    def _has_room(self, held: Held) -> bool:
        if self._tail is None or len(self._tail) < self._most:
            return True
        if held.grown(self._tail):
            self._tail = None
            return True
        return False


def key_of(events: pa.Table) -> pa.Array:
    """The key of each event as one text; the lengths in front keep apart whatever ids may hold."""
    texts = [events[name].combine_chunks().cast(pa.string()) for name in KEY[:3]]
    lengths = [pc.binary_length(text).cast(pa.string()) for text in texts]
    moment = pc.cast(pc.cast(events["timestamp"], pa.timestamp("us", "UTC")), pa.int64()).cast(pa.string())
    return pc.binary_join_element_wise(*lengths, moment.combine_chunks(), *texts, " ")
