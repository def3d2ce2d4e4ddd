"""What is done with the events of one micro-batch."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.config import Config
from vizrec_spark.config.models import InteractionsConfig
from vizrec_spark.ingest.faults import readable_input
from vizrec_spark.ingest.interactions import judge_interactions
from vizrec_spark.ingest.sources import RAW
from vizrec_spark.stage import log
from vizrec_spark.stream.commits import Commits
from vizrec_spark.stream.histories import Histories, key_of
from vizrec_spark.stream.lists import folded_in, live_rows
from vizrec_spark.stream.pairs import user_rows
from vizrec_spark.stream.resident import Latest, Resident
from vizrec_spark.stream.source import ARRIVED_AT, EVENT_ID
from vizrec_spark.tables import Once, TableStore
from vizrec_spark.tables.reasons import BY_CODE
from vizrec_spark.tables.schemas import LIVE_EVENTS

_USERS = 2048
"""Users whose lists are made, and written, at a time: what bounds the memory of a large micro-batch."""
_REUSED = BY_CODE["reused_id"].code
Mask = NDArray[np.bool_]


@dataclass
class Totals:
    """Of all micro-batches so far: events that came, were accepted for the first time, had come before, were refused,
    were new and on an item that the catalogue does not have; lists written; seconds."""

    batches: int = 0
    came: int = 0
    new: int = 0
    repeated: int = 0
    refused: int = 0
    strange: int = 0
    lists: int = 0
    seconds: float = 0.0


class MicroBatch:
    """Judges events, keeps the new ones and makes the lists of their users.

    Each step is a commit that is made once (`Commits`), so that a batch that is done again, in whole or in part,
    changes nothing that it has changed already.
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
        self._config, self._latest, self._histories, self._threads = config, latest, histories, threads
        self._commits = Commits(spark, tables, config.stream.direct_bytes)
        self.totals = Totals()
        self.failure: Exception | None = None

    def __call__(self, events: DataFrame, number: int) -> None:
        """For `foreachBatch`: `events` as of `source.live_events`."""
        try:
            query = events.sparkSession.sparkContext.getLocalProperty("sql.streaming.queryId")
            if query is None:
                raise RuntimeError("called outside a query: there is nothing to name its commits by")
            self.run(events, Once(query, number))
        except Exception as error:
            self.failure = error
            raise

    def run(self, events: DataFrame, once: Once) -> None:
        """One micro-batch, whose writes are made once."""
        clock = _Clock()
        resident = self._latest.look()
        self._histories.refresh()
        clock.lap("tables looked at")
        judged = self._judged(events)
        sound = pc.is_null(judged["reason"])
        refused, accepted = judged.filter(pc.invert(sound)), judged.filter(sound).sort_by(RAW)
        clock.lap("judged")
        stored = self._commits.stored(once)
        rows = self._events_of(accepted, once)
        known, reused, twice = self._met(rows)
        new = rows.filter(~(known | reused | twice))
        other = _renamed(accepted.filter(reused))
        rows = rows.filter(~(reused | twice))
        if stored is not None:
            # What was accepted then stays accepted, whatever the rules say now; another record with its id does not.
            same = pc.is_in(key_of(refused), value_set=key_of(stored))
            refused = refused.filter(pc.invert(pc.and_(same, _in(refused[EVENT_ID], stored["event_id"]))))
            here = _in(rows["event_id"], stored["event_id"])
            whole = self._commits.finished(once) and pc.all(here, min_count=0).as_py()
            # Where the checkpoint was an older one, the lists of that number may have been of other events.
            done = whole and self._commits.listed(stored)
            rows = rows.slice(0, 0) if done else pa.concat_tables([rows, stored.cast(rows.schema)])
        # Of an id that two events have, one stands in the table: the other is refused all the same.
        refused = pa.concat_tables([refused, other])
        # Beside the histories and the lists, which do not wait for it: it is mostly latency.
        told = self._threads.submit(self._commits.refused, refused, once) if len(refused) else None
        # Beside the histories.
        kept = self._threads.submit(self._commits.events, new, once) if len(new) else None
        clock.lap("events written")
        n_lists = 0
        if len(rows):
            n_lists = self._commits.lists(self._lists(resident, rows, new, once.number, kept, clock), once)
        if kept is not None:
            kept.result()
            self._histories.appended(new)
        clock.lap("lists written")
        if told is not None:
            told.result()
        clock.lap("refused told")
        self._commits.tidy(once.number)
        clock.lap("upkeep")
        strange = len(new) - int(np.sum(resident.hybrid.side.positions(_texts(new["item_id"])) >= 0))
        self._tell(once.number, len(judged), len(new), strange, len(refused), n_lists, clock)

    def _judged(self, events: DataFrame) -> pa.Table:
        """By the rules of stage `ingest`, but that an item may be newer than the catalogue, and that an event may come
        several times: see `_met`."""
        live = self._config.stream
        rules: InteractionsConfig = self._config.ingest.interactions.model_copy(
            update={"columns": live.columns, "timestamp": live.timestamp}
        )
        with readable_input():
            # One pass over the source: its state is written as the rows flow.
            return judge_interactions(events, None, rules, (EVENT_ID, ARRIVED_AT)).toArrow()

    def _events_of(self, accepted: pa.Table, once: Once) -> pa.Table:
        """The accepted events in the columns of table `live_events`."""
        ours = {EVENT_ID: "event_id", ARRIVED_AT: "arrived_at"}
        named = accepted.rename_columns([ours.get(name, name) for name in accepted.column_names])
        n = len(named)
        named = named.append_column("query_id", pa.array([once.writer] * n, pa.string()))
        return named.append_column("batch", pa.array([once.number] * n, pa.int64())).select(
            LIVE_EVENTS.columns
        )

    def _met(self, rows: pa.Table) -> tuple[Mask, Mask, Mask]:
        """Which of `rows` are known, which have the id of another event, of the table or of a row before, and which are
        the event of a row before that has not: an event may come once more with an id that is its own."""
        if not len(rows):
            return (np.zeros(0, dtype=bool),) * 3
        known, reused = (np.array(found, dtype=bool) for found in self._histories.known(rows))
        twice = np.zeros(len(rows), dtype=bool)
        ids, keys = (_numbered(texts) for texts in (rows["event_id"].combine_chunks(), key_of(rows)))
        taken_ids, taken_keys = set[int](), set[int]()
        for row in np.flatnonzero(~reused).tolist():
            if keys[row] in taken_keys:
                twice[row], known[row] = True, False
            elif not known[row] and ids[row] in taken_ids:
                reused[row] = True
            else:
                taken_keys.add(keys[row])
                if not known[row]:
                    taken_ids.add(ids[row])
        return known, reused, twice

    def _lists(
        self,
        resident: Resident,
        rows: pa.Table,
        new: pa.Table,
        batch: int,
        kept: Future[None] | None,
        clock: _Clock,
    ) -> Iterator[pa.Table]:
        """Rows of `live_recommendations` for the users of `rows`, from all that is known of them and `new`, which are
        `kept` when the first are given."""
        config = self._config.recommend
        made_at: datetime = pc.max(rows["arrived_at"]).as_py()
        everybody = pc.unique(rows["user_id"])
        for at in range(0, len(everybody), _USERS):
            users = everybody.slice(at, _USERS)
            events = self._histories.of(users, new.filter(pc.is_in(new["user_id"], value_set=users)))
            found = user_rows(events, config.rerank, resident.als, resident.whole)
            clock.lap("histories")
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
            clock.lap("scored")
            if kept is not None:
                kept.result()
            yield lists
            clock.lap("lists written")

    def _tell(
        self, number: int, came: int, new: int, strange: int, refused: int, n_lists: int, clock: _Clock
    ) -> None:
        totals = self.totals
        repeated = came - new - refused
        totals.batches += 1
        totals.came += came
        totals.new += new
        totals.repeated += repeated
        totals.refused += refused
        totals.strange += strange
        totals.lists += n_lists
        totals.seconds += clock.total
        log.info(
            "stream: batch %d: %d events, %d new (%d on items not in the catalogue), %d known, %d refused; "
            "%d lists in %.2f s (%s)",
            number,
            came,
            new,
            strange,
            repeated,
            refused,
            n_lists,
            clock.total,
            clock,
        )


class _Clock:
    """Seconds by step, in the order in which the steps first came."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._seconds: dict[str, float] = defaultdict(float)

    def lap(self, step: str) -> None:
        """Counts the time since the last lap to `step`."""
        now = time.monotonic()
        self._seconds[step] += now - self._last
        self._last = now

    @property
    def total(self) -> float:
        """Seconds of all steps."""
        return sum(self._seconds.values())

    def __str__(self) -> str:
        return ", ".join(f"{step} {seconds:.2f}" for step, seconds in self._seconds.items())


def _renamed(accepted: pa.Table) -> pa.Table:
    """Accepted records that must be refused after all: their id is another event's."""
    n = len(accepted)
    told = {
        "reason": _REUSED,
        "message": "Another event with this id was accepted before: ids must be unique.",
    }
    for name, text in told.items():
        at = accepted.column_names.index(name)
        accepted = accepted.set_column(at, accepted.schema.field(name), pa.array([text] * n, pa.string()))
    return accepted


def _numbered(texts: pa.Array) -> list[int]:
    """A number for each text, the same for the same one."""
    return texts.dictionary_encode().indices.to_pylist()


def _in(column: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.is_in(column, value_set=values.combine_chunks())


def _texts(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy()
