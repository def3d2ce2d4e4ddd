"""Threads for what would hold up the event loop, with a bound on what waits for them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Busy(Exception):
    """More waits already than may wait; to be tried again later."""


class Pool:
    """`workers` threads for which at most `waiting` tasks wait.

    A task counts until it has ended, also where nobody waits for it any more: giving up on a request frees no thread.
    """

    def __init__(self, workers: int, waiting: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix=name)
        self._free = threading.Semaphore(workers + waiting)

    def submit(self, task: Callable[..., T], *arguments: object) -> Future[T]:
        """Has `task` run. Raises: Busy."""
        if not self._free.acquire(blocking=False):
            raise Busy
        try:
            future = self._threads.submit(task, *arguments)
        except BaseException:
            self._free.release()
            raise
        future.add_done_callback(lambda _: self._free.release())
        return future

    def close(self) -> None:
        """Waits for what runs, and drops what waits."""
        self._threads.shutdown(wait=True, cancel_futures=True)
