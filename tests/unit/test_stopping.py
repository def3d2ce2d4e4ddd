"""How a command is told to stop."""

from __future__ import annotations

import os
import signal
import threading
import time

from vizrec_spark.stopping import told_to_stop


def test_a_signal_is_heard_by_one_who_waits_however_often_it_comes() -> None:
    """The handler runs in the thread that waits: with a lock it would wait for itself."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    over = threading.Event()

    def tell() -> None:
        while not over.wait(0.0005):
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=tell)
    with told_to_stop() as stop:
        assert not stop.wait(0.01)
        thread.start()
        began = time.monotonic()
        for _ in range(500):
            assert stop.wait(30.0)
            stop._told = False
        over.set()
        thread.join()
        assert time.monotonic() - began < 30.0
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers


def test_beside_the_main_thread_nothing_is_listened_to() -> None:
    before, found = signal.getsignal(signal.SIGTERM), []

    def other() -> None:
        with told_to_stop() as stop:
            found.append((signal.getsignal(signal.SIGTERM), stop.wait(0.0)))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert found == [(before, False)]
