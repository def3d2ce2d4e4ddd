"""What only Spark knows of a query: events that it has left out before any code of ours saw them."""

from __future__ import annotations

import threading

from pyspark.sql.streaming.listener import (
    QueryIdleEvent,
    QueryProgressEvent,
    QueryStartedEvent,
    QueryTerminatedEvent,
    StreamingQueryListener,
)

from vizrec_spark.stage import log


class Watch(StreamingQueryListener):
    """Counts over all micro-batches: `again`, events that came again and were left out unread, and `late`, events that
    the watermark has shut out; `held`: ids remembered after the last one."""

    def __init__(self) -> None:
        self.again = self.late = self.held = 0
        self._ended = threading.Event()

    def onQueryStarted(self, event: QueryStartedEvent) -> None:  # noqa: N802
        """Nothing to count yet."""

    def onQueryIdle(self, event: QueryIdleEvent) -> None:  # noqa: N802
        """Nothing to count."""

    def onQueryProgress(self, event: QueryProgressEvent) -> None:  # noqa: N802
        """After each micro-batch, somewhat later."""
        states = event.progress.stateOperators
        again = sum(state.customMetrics.get("numDroppedDuplicateRows", 0) for state in states)
        late = sum(state.numRowsDroppedByWatermark for state in states)
        self.again += again
        self.late += late
        self.held = sum(state.numRowsTotal for state in states)
        log.info(
            "stream: batch %d: %d ids are remembered; %d more came again and were left out",
            event.progress.batchId,
            self.held,
            again,
        )
        if late:
            log.error(
                "stream: batch %d: %d events were shut out by the watermark", event.progress.batchId, late
            )

    def onQueryTerminated(self, event: QueryTerminatedEvent) -> None:  # noqa: N802
        """All has been counted."""
        self._ended.set()

    def wait(self, seconds: float) -> None:
        """Until the query has ended and all has been counted."""
        self._ended.wait(seconds)
