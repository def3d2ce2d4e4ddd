"""What is done with the events of one micro-batch."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vizrec_spark.config import Config
from vizrec_spark.config.models import InteractionsConfig
from vizrec_spark.ingest.interactions import validate_interactions
from vizrec_spark.ingest.judge import quarantined
from vizrec_spark.ingest.sources import RAW
from vizrec_spark.stage import log
from vizrec_spark.stream.histories import Histories
from vizrec_spark.stream.lists import folded_in, live_rows
from vizrec_spark.stream.pairs import user_rows
from vizrec_spark.stream.resident import Latest
from vizrec_spark.stream.source import ARRIVED_AT, EVENT_ID
from vizrec_spark.tables import Once, TableStore
from vizrec_spark.tables.schemas import LIVE_EVENTS, LIVE_RECOMMENDATIONS, QUARANTINE

_COMPACT_EVERY = 50
"""Micro-batches after which the files of `live_recommendations` are put together."""


@dataclass
class Totals:
    """Of all micro-batches so far: events that came, were accepted for the first time, had come before, were refused;
    lists written; seconds."""

    batches: int = 0
    came: int = 0
    new: int = 0
    repeated: int = 0
    refused: int = 0
    lists: int = 0
    seconds: float = 0.0


class MicroBatch:
    """Judges events, keeps the new ones and makes the lists of their users.

    Each step is one Delta commit under the query's id and the batch's number, so that a batch that is done again, in
    whole or in part, changes nothing that it has changed already.
    """

    def __init__(
        self,
        spark: SparkSession,
        tables: TableStore,
        config: Config,
        latest: Latest,
        histories: Histories,
        threads: ThreadPoolExecutor,
    ) -> None:
        self._spark, self._tables, self._config = spark, tables, config
        self._latest, self._histories, self._threads = latest, histories, threads
        self.totals = Totals()
        self.failure: Exception | None = None

    def __call__(self, events: DataFrame, number: int) -> None:
        """For `foreachBatch`: `events` as of `source.live_events`."""
        try:
            query = events.sparkSession.sparkContext.getLocalProperty("sql.streaming.queryId")
            assert query is not None, "called outside a query"  # whose name would be that of every query
            self.run(events, Once(query, number))
        except Exception as error:
            self.failure = error
            raise

    def run(self, events: DataFrame, once: Once) -> None:
        """One micro-batch, whose writes are made once."""
        began = [time.monotonic()]
        resident = self._latest.look()
        self._histories.refresh()
        began.append(time.monotonic())
        judged = self._judged(events, resident.items)
        accepted = judged.filter(pc.is_null(judged["reason"]))
        repeats = pc.equal(judged["reason"], "duplicate_key")
        refused = judged.filter(pc.and_(pc.is_valid(judged["reason"]), pc.invert(repeats)))
        began.append(time.monotonic())
        if len(refused):
            self._quarantine(refused, once)
        rows = self._events_of(accepted, once.number)
        new = rows.filter(pc.invert(self._histories.known(rows))) if len(rows) else rows
        # Beside the histories, which do not wait for it: both are mostly latency.
        kept = self._threads.submit(self._append, new, once) if len(new) else None
        began.append(time.monotonic())
        n_lists = 0
        if len(rows):
            lists = self._lists(rows, new, once.number, began)
            n_lists = len(lists)
        if kept is not None:
            kept.result()
            self._histories.appended(new)
        if n_lists:
            frame = self._spark.createDataFrame(lists, LIVE_RECOMMENDATIONS.schema)
            self._tables.upsert_once(LIVE_RECOMMENDATIONS, frame, once)
        if once.number % _COMPACT_EVERY == _COMPACT_EVERY - 1 and self._tables.exists(LIVE_RECOMMENDATIONS):
            self._tables.compact(LIVE_RECOMMENDATIONS)
        began.append(time.monotonic())
        self._tell(once.number, len(judged), len(new), len(refused), n_lists, began)

    def _judged(self, events: DataFrame, items: DataFrame) -> pa.Table:
        live = self._config.stream
        rules: InteractionsConfig = self._config.ingest.interactions.model_copy(
            update={"columns": live.columns, "timestamp": live.timestamp}
        )
        # One pass over the source: its state is written as the rows flow.
        return validate_interactions(events, F.broadcast(items), rules, (EVENT_ID, ARRIVED_AT)).toArrow()

    def _quarantine(self, refused: pa.Table, once: Once) -> None:
        frame = self._spark.createDataFrame(refused.select([RAW, "reason", "message", "user_id", "item_id"]))
        key = F.concat_ws(" ", "user_id", "item_id")
        self._tables.append(QUARANTINE, quarantined(frame, "interactions", key, "stream"), once=once)

    def _events_of(self, accepted: pa.Table, batch: int) -> pa.Table:
        """The accepted events in the columns of table `live_events`."""
        named = accepted.rename_columns(
            [
                {EVENT_ID: "event_id", ARRIVED_AT: "arrived_at"}.get(name, name)
                for name in accepted.column_names
            ]
        )
        numbered = named.append_column("batch", pa.array([batch] * len(named), pa.int64()))
        return numbered.select(LIVE_EVENTS.columns)

    def _append(self, new: pa.Table, once: Once) -> None:
        self._tables.append(LIVE_EVENTS, self._spark.createDataFrame(new, LIVE_EVENTS.schema), once=once)

    def _lists(self, rows: pa.Table, new: pa.Table, batch: int, began: list[float]) -> pa.Table:
        """Rows of `live_recommendations` for the users of `rows`, from all that is known of them and `new`."""
        resident, config = self._latest.resident, self._config.recommend
        users = pc.unique(rows["user_id"])
        events = self._histories.of(users, new)
        found = user_rows(events, config.rerank, resident.als, resident.whole)
        began.append(time.monotonic())
        made_at = pc.max(rows["arrived_at"]).as_py()
        blocks = live_rows(
            folded_in(found, resident),
            resident,
            config,
            self._config.stream.latest,
            made_at,
            batch,
            self._threads,
        )
        lists = pa.concat_tables(list(blocks))
        began.append(time.monotonic())
        return lists

    def _tell(self, number: int, came: int, new: int, refused: int, n_lists: int, began: list[float]) -> None:
        totals = self.totals
        repeated = came - new - refused
        totals.batches += 1
        totals.came += came
        totals.new += new
        totals.repeated += repeated
        totals.refused += refused
        totals.lists += n_lists
        totals.seconds += began[-1] - began[0]
        steps = " + ".join(f"{b - a:.2f}" for a, b in pairwise(began))
        log.info(
            "stream: batch %d: %d events, %d new, %d known, %d refused; %d lists in %.2f s (%s)",
            number,
            came,
            new,
            repeated,
            refused,
            n_lists,
            began[-1] - began[0],
            steps,
        )
