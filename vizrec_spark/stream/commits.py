"""The commits of a micro-batch: each is made once, also where a batch is done again or its number has other events."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from vizrec_spark.errors import TableError, WriteConflict
from vizrec_spark.ingest.judge import quarantined
from vizrec_spark.ingest.sources import RAW
from vizrec_spark.stage import log
from vizrec_spark.tables import Once, Table, TableStore
from vizrec_spark.tables.direct import Direct
from vizrec_spark.tables.schemas import LIVE_EVENTS, LIVE_RECOMMENDATIONS, QUARANTINE

_TRIES = 3
_COMPACT_EVERY = 50
"""Micro-batches; each leaves a file or two in each table."""
_FREE_S, _HOUR_S, _DAY_S = 600.0, 3_600.0, 86_400.0
KEPT = timedelta(days=1)
"""How old a live list may be before upkeep drops it: the service shows none that is older."""


class Commits:
    """Writes what comes of the micro-batches of a query.

    A commit carries the query's id and the number of the batch, and Delta passes over a number that the table has
    already. That is right for a batch that died in its middle. Behind a checkpoint that is older than the tables,
    though, a number comes again with other events: so the tables are asked for their last number first, and where it is
    not below the batch's, what stands in them decides.

    Events and lists are written without Spark where that can be (`Direct`): a commit of Spark's takes a second and
    more, however little it writes. It gets the lists back once their table has more than `direct_bytes`, for it marks
    single rows as replaced, where `Direct` writes all of a file anew.
    """

    def __init__(self, spark: SparkSession, tables: TableStore, direct_bytes: int) -> None:
        self._spark, self._tables, self._direct_bytes = spark, tables, direct_bytes
        self._direct = {table.name: self._direct_on(table) for table in (LIVE_EVENTS, LIVE_RECOMMENDATIONS)}
        self._last: dict[tuple[str, str], int] = {}
        self._refusals = 0
        self._dropped, self._freed, self._cleared = -math.inf, -math.inf, time.monotonic()

    def stored(self, once: Once) -> pa.Table | None:
        """The rows of `live_events` that this batch, done before, has added; None for one that is new."""
        if not self._again(LIVE_EVENTS, once):
            return None
        own = (F.col("query_id") == F.lit(once.writer)) & (F.col("batch") == F.lit(once.number))
        return self._tables.pinned(LIVE_EVENTS).where(own).toArrow()

    def finished(self, once: Once) -> bool:
        """Whether the lists of this batch, or of a later one, were written."""
        return self._again(LIVE_RECOMMENDATIONS, once)

    def listed(self, events: pa.Table) -> bool:
        """Whether each user of `events` (rows of `live_events`) has a list that was made after they came."""
        came = events.group_by("user_id").aggregate([("arrived_at", "max")])
        asked = F.broadcast(self._spark.createDataFrame(came))
        made = self._tables.pinned(LIVE_RECOMMENDATIONS).select("user_id", "updated_at")
        return made.join(asked, "user_id").where("updated_at >= arrived_at_max").count() == len(came)

    def refused(self, records: pa.Table, once: Once) -> None:
        """Adds `records` (with `_record`, `reason`, `message`, `user_id`, `item_id`) to the quarantine."""
        records = records.select([RAW, "reason", "message", "user_id", "item_id"])
        again = self._again(QUARANTINE, once)
        if again:
            texts = self._spark.createDataFrame(pa.table({"record": pc.unique(records[RAW])}))
            own = self._tables.pinned(QUARANTINE).where("stage = 'stream'")
            held = own.join(F.broadcast(texts), "record", "left_semi").select("record").distinct().toArrow()
            records = records.filter(
                pc.invert(pc.is_in(records[RAW], value_set=held["record"].combine_chunks()))
            )
        if not len(records):
            return
        key = F.concat_ws(" ", "user_id", "item_id")
        rows = quarantined(self._spark.createDataFrame(records), "interactions", key, "stream")
        self._tables.append(QUARANTINE, rows, once=None if again else once)
        self._made(QUARANTINE, once)
        self._refusals += 1

    def events(self, new: pa.Table, once: Once) -> None:
        """Adds `new` to `live_events`, which has none of them."""
        named = None if self._again(LIVE_EVENTS, once) else once
        if (direct := self._direct[LIVE_EVENTS.name]) is not None:
            direct.append(new, named)
        else:
            self._tables.append(LIVE_EVENTS, self._spark.createDataFrame(new, LIVE_EVENTS.schema), once=named)
        self._made(LIVE_EVENTS, once)

    def lists(self, parts: Iterable[pa.Table], once: Once) -> int:
        """Puts the rows of `live_recommendations` in the place of those of the same users, a commit a part; how many.

        The last commit carries the number: before it all are made anew, and a list that is written twice is the same.
        """
        rows, held = 0, None
        for part in parts:
            if held is not None:
                self._upsert(held, None)
            held, rows = part, rows + len(part)
        if held is not None:
            self._upsert(held, None if self.finished(once) else once)
            self._made(LIVE_RECOMMENDATIONS, once)
        return rows

    def tidy(self, number: int) -> None:
        """Upkeep behind micro-batch `number`, little at a time, for the next one waits for it: puts small files
        together, once an hour drops lists nobody is shown any more, and once a day frees the disk; every ten minutes of
        lists that were replaced, where each commit replaces them all."""
        if number % _COMPACT_EVERY == _COMPACT_EVERY - 1:
            in_peace(lambda: self._compact(LIVE_RECOMMENDATIONS))
        elif number % _COMPACT_EVERY == _COMPACT_EVERY // 2:
            in_peace(lambda: self._compact(LIVE_EVENTS))
        elif self._refusals >= _COMPACT_EVERY:
            self._refusals = 0
            in_peace(lambda: self._tables.compact(QUARANTINE))
        now = time.monotonic()
        if now - self._dropped > _HOUR_S:
            self._dropped = now
            old = F.col("updated_at") < F.lit(datetime.now(UTC) - KEPT)
            in_peace(lambda: self._tables.delete(LIVE_RECOMMENDATIONS, old))
        direct = self._direct[LIVE_RECOMMENDATIONS.name]
        if direct is not None and now - self._freed > _FREE_S:
            self._freed = now
            in_peace(direct.free)
        if now - self._cleared > _DAY_S:
            self._cleared = now
            for table in (LIVE_EVENTS, LIVE_RECOMMENDATIONS):
                in_peace(lambda table=table: self._tables.vacuum(table, 24.0 * table.log_days))  # type: ignore[misc]

    def _direct_on(self, table: Table) -> Direct | None:
        if not self._direct_bytes:
            return None
        try:
            return Direct.on(self._tables, table)
        except TableError as error:
            log.info("stream: table %s is written by Spark, which takes longer: %s", table.name, error)
            return None

    def _compact(self, table: Table) -> None:
        direct = self._direct[table.name]
        if direct is not None and (table is LIVE_EVENTS or direct.size() <= self._direct_bytes):
            direct.tidy()
        else:  # it writes files anew of which rows are marked as replaced
            self._tables.compact(table)

    def _upsert(self, rows: pa.Table, once: Once | None) -> None:
        for left in reversed(range(_TRIES)):
            try:
                direct = self._direct[LIVE_RECOMMENDATIONS.name]
                if direct is None or not direct.upsert(rows, once, self._direct_bytes):
                    frame = self._spark.createDataFrame(rows, LIVE_RECOMMENDATIONS.schema)
                    self._tables.upsert_once(LIVE_RECOMMENDATIONS, frame, once)
                return
            except WriteConflict as error:  # somebody's OPTIMIZE
                if not left:
                    raise
                log.info("stream: once more: %s", error)

    def _again(self, table: Table, once: Once) -> bool:
        key = (table.name, once.writer)
        if key not in self._last:
            self._last[key] = self._tables.last_number(table, once.writer)
        return once.number <= self._last[key]

    def _made(self, table: Table, once: Once) -> None:
        key = (table.name, once.writer)
        self._last[key] = max(self._last.get(key, -1), once.number)


def in_peace(upkeep: Callable[[], object]) -> None:
    """Runs a piece of upkeep, which can wait for the next time where another run is in its way, or the store fails."""
    try:
        upkeep()
    except TableError as error:
        log.info("stream: upkeep is left for later: %s", error)
    except Exception as error:  # what it wants of the store must not end the stream
        log.warning("stream: upkeep failed and is left for later", exc_info=error)
