"""What Prometheus is told."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from vizrec_spark.serve.columns import LIVE_RECOMMENDATIONS

if TYPE_CHECKING:
    from vizrec_spark.serve.lists import Live
    from vizrec_spark.serve.snapshot import Snapshot

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """The service's metrics, in a registry of its own, so that two services in a process do not share any."""

    def __init__(self) -> None:
        disable_created_metrics()  # a series more for each counter, which nobody reads
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.requests = Counter(
            "vizrec_requests",
            "Answers by endpoint and status.",
            ("endpoint", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "vizrec_request_seconds",
            "Time from a request's headers to its answer.",
            ("endpoint",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.refused = Counter(
            "vizrec_refused", "Requests refused by what for.", ("why",), registry=self.registry
        )
        self.in_flight = Gauge("vizrec_in_flight", "Requests in work.", registry=self.registry)
        self.delay = Gauge("vizrec_delay_seconds", "How late the event loop is.", registry=self.registry)
        self.served = Counter(
            "vizrec_lists",
            "Lists of recommendations by what they came from.",
            ("source",),
            registry=self.registry,
        )
        self.reloads = Counter("vizrec_reloads", "Snapshots loaded.", registry=self.registry)
        self.reload_failures = Counter(
            "vizrec_reload_failures", "Reloads that failed; the old snapshot stayed.", registry=self.registry
        )
        self.reload_seconds = Gauge(
            "vizrec_reload_seconds", "What the last load took.", registry=self.registry
        )
        self.stale = Gauge(
            "vizrec_snapshot_stale",
            "1: what is served is older than the tables, or the live lists than theirs.",
            registry=self.registry,
        )
        self.version = Gauge(
            "vizrec_table_version",
            "Version of each table that is served.",
            ("table",),
            registry=self.registry,
        )
        self.memory = Gauge(
            "vizrec_snapshot_bytes", "Memory of the snapshot by part.", ("part",), registry=self.registry
        )
        self.loaded_at = Gauge(
            "vizrec_snapshot_timestamp_seconds", "When the snapshot was loaded.", registry=self.registry
        )
        self.live_age = Gauge(
            "vizrec_live_age_seconds",
            "Age of the newest live list that is served; NaN: there is none.",
            registry=self.registry,
        )
        self.live_loaded(None)
        self.search_ready = Gauge(
            "vizrec_search_ready", "1: search by picture works.", registry=self.registry
        )

    def loaded(self, snapshot: Snapshot, seconds: float) -> None:
        """A snapshot has been loaded."""
        self.reloads.inc()
        self.reload_seconds.set(seconds)
        self.loaded_at.set(snapshot.loaded_at.timestamp())
        self.search_ready.set(snapshot.search.why is None)
        for table, version in snapshot.versions.items():
            self.version.labels(table).set(version)
        for part, size in snapshot.nbytes.items():
            self.memory.labels(part).set(size)

    def live_loaded(self, live: Live | None) -> None:
        """The live lists that are served from now on."""
        newest = None if live is None else live.newest_at
        self.live_age.set_function(lambda: math.nan if newest is None else time.time() - newest)
        for gauge, name in ((self.version, LIVE_RECOMMENDATIONS.name), (self.memory, "live")):
            if live is None:
                with suppress(KeyError):
                    gauge.remove(name)
            else:
                gauge.labels(name).set(live.nbytes if gauge is self.memory else live.version)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)
