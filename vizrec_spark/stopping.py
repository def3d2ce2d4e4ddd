"""How a command that runs until it is told to stop is told."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_LOOK_S = 0.05


class Told:
    """Whether it has been told to stop; unlike `threading.Event`, which takes a lock, it may be set by the handler of a
    signal that interrupts one who waits for it."""

    def __init__(self) -> None:
        self._told = False

    def set(self) -> None:
        """Tells it."""
        self._told = True

    def wait(self, seconds: float) -> bool:
        """Waits until it is told, at most so long; whether it has been."""
        until = time.monotonic() + seconds
        while not self._told and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_S))
        return self._told


@contextmanager
def told_to_stop() -> Iterator[Told]:
    """What SIGINT, SIGTERM and SIGHUP set while the body runs, where it runs in the main thread.

    What this process was started to ignore (`nohup` and SIGHUP) it goes on ignoring.
    """
    stop = Told()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {
        number: handler for number in ends if (handler := signal.getsignal(number)) is not signal.SIG_IGN
    }
    for number in before:
        signal.signal(number, lambda *_: stop.set())
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
