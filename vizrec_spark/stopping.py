"""How a command that runs until it is told to stop is told."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def told_to_stop() -> Iterator[threading.Event]:
    """An event that SIGINT, SIGTERM and SIGHUP set while the body runs, where it runs in the main thread.

    What this process was started to ignore (`nohup` and SIGHUP) it goes on ignoring.
    """
    stop = threading.Event()
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
