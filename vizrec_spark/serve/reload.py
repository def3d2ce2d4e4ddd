"""Keeps the snapshot fresh: asks the logs for new versions, loads in a thread of its own, swaps in one step."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa

from vizrec_spark.serve.metrics import Metrics
from vizrec_spark.serve.snapshot import Loader, NotWhole, Snapshot

log = logging.getLogger("vizrec")

_LIVE_SHARE = 5.0  # seconds between two reads of the live lists for each second that one takes
_RETRY_S = 60.0  # to try the same versions again, which costs as much as a load that works


@dataclass(frozen=True)
class ReloadState:
    """How reloading goes, of the tables or of the live lists. `problem` is null unless what is served is older than
    they are, since `since`; `waiting` tells whether it is so only until a stage has ended."""

    failures: int = 0
    problem: str | None = None
    waiting: bool = False
    since: datetime | None = None


class Reloader:
    """Holds the snapshot that is served.

    Readers take `snapshot` once and use it for their whole answer: it is replaced as a whole and never changed.
    """

    def __init__(self, loader: Loader, seconds: float, live_seconds: float, metrics: Metrics) -> None:
        """Loads the first snapshot. Raises: TableError."""
        self._loader, self._seconds, self._metrics = loader, seconds, metrics
        self._live_seconds = live_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vizrec-reload", daemon=True)
        self._failed: Mapping[str, int] | None = (
            None  # versions that could not be loaded, and when to try them again
        )
        self._again = 0.0
        self.state = ReloadState()
        self.live_state = ReloadState()
        self.snapshot: Snapshot = self._load(None)

    def start(self) -> None:
        """Begins to look for new versions."""
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Ends that; whether it has ended within `seconds`, which a load that is under way may take."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _load(self, before: Snapshot | None) -> Snapshot:
        began = time.monotonic()
        snapshot = self._loader.load(before)
        pa.default_memory_pool().release_unused()  # what reading took
        seconds = time.monotonic() - began
        self._metrics.loaded(snapshot, seconds)
        self._metrics.live_loaded(snapshot.live)
        size = sum(snapshot.nbytes.values()) / 2**20
        log.info("serve: loaded %s in %.1f s, %.0f MiB", _told(snapshot.versions), seconds, size)
        for note in snapshot.notes:
            log.warning("serve: %s", note)
        if snapshot.search.why is not None:
            log.warning("serve: no search by picture: %s", snapshot.search.why)
        return snapshot

    def _run(self) -> None:
        pause, due = self._live_seconds, time.monotonic() + self._seconds
        while not self._stop.wait(min(pause, max(due - time.monotonic(), 0.0))):
            began = time.monotonic()
            if began >= due:
                self.check()
                due = time.monotonic() + self._seconds
            began = time.monotonic()
            self.check_live()
            # However many lists there are, reading them takes little of the time of those who answer.
            pause = max(self._live_seconds, _LIVE_SHARE * (time.monotonic() - began))

    def check_live(self) -> None:
        """Takes the live lists up if there are new ones; whatever goes wrong, those of before stay and `live_state`
        says why."""
        try:
            live = self._loader.live(self.snapshot)
            if live is not self.snapshot.live:
                self.snapshot = replace(self.snapshot, live=live)
                self._metrics.live_loaded(live)
            self.live_state = replace(self.live_state, problem=None, since=None)
        except Exception as error:
            self._metrics.reload_failures.inc()
            told, before = f"{type(error).__name__}: {error}"[:500], self.live_state
            if told != before.problem:
                log.error("serve: the live lists are not loaded anew: %s", told)
            self.live_state = ReloadState(before.failures + 1, told, since=before.since or datetime.now(UTC))
        self._tell_stale()

    def check(self) -> None:
        """Loads anew if a table has a new version; whatever goes wrong, the snapshot stays and `state` says why."""
        versions: Mapping[str, int] | None = None
        try:
            versions = self._loader.versions()
            if versions == self.snapshot.versions:
                self._settled()
                return
            if versions == self._failed and time.monotonic() < self._again:
                return
            self.snapshot = self._load(self.snapshot)
            self._settled()
        except NotWhole as error:
            self._problem(str(error), waiting=True)
            self._again = math.inf  # it stays so until something is committed
        except Exception as error:
            # Everything else too, a full disk or a bug: an old answer is better than none.
            log.debug("where it happened", exc_info=error)
            self._metrics.reload_failures.inc()
            self._problem(f"{type(error).__name__}: {error}"[:500], waiting=False)
            self._again = time.monotonic() + _RETRY_S
        self._failed = versions

    def _settled(self) -> None:
        if self.state.problem is not None:
            self.state = replace(self.state, problem=None, waiting=False, since=None)
        self._tell_stale()

    def _problem(self, text: str, *, waiting: bool) -> None:
        state = self.state
        if text != state.problem:
            (log.info if waiting else log.error)("serve: the tables are not loaded anew: %s", text)
        self.state = ReloadState(
            state.failures + (not waiting), text, waiting, state.since or datetime.now(UTC)
        )
        self._tell_stale()

    def _tell_stale(self) -> None:
        problems = (self.state.problem, self.live_state.problem)
        self._metrics.stale.set(any(problem is not None for problem in problems))


def _told(versions: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
