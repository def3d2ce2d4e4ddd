"""Work done ahead: in order, within its bounds, beside the caller, and stopped with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizrec_spark.embed.prefetch import ahead


@given(st.lists(st.integers(0, 50)), st.integers(1, 4), st.integers(1, 9), st.integers(1, 80))
def test_it_is_map_in_order(items: list[int], threads: int, most: int, most_bytes: int) -> None:
    got = ahead(items, lambda n: n * n, lambda n: n, threads=threads, most=most, most_bytes=most_bytes)
    assert list(got) == [n * n for n in items]


def test_no_more_is_taken_than_the_bounds_allow() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    by_count = ahead(items(), lambda n: n, lambda _: 1, threads=2, most=5)
    next(by_count)
    assert len(taken) == 6  # the five that wait, and the one that found no room
    by_count.close()
    taken.clear()
    by_bytes = ahead(items(), lambda n: n, lambda _: 10, threads=2, most=50, most_bytes=30)
    next(by_bytes)
    assert len(taken) == 4
    by_bytes.close()


def test_the_work_goes_on_beside_the_caller() -> None:
    done = threading.Semaphore(0)
    results = ahead(range(8), lambda n: done.release() or n, lambda _: 1, threads=1, most=4)
    next(results)
    # The caller does nothing, and the four that may wait get done.
    assert all(done.acquire(timeout=5) for _ in range(4))
    results.close()


def test_an_error_comes_out_in_its_place_and_ends_it() -> None:
    started = []

    def work(n: int) -> int:
        started.append(n)
        if n == 3:
            raise ValueError("three")
        return n

    results = ahead(range(1000), work, lambda _: 1, threads=1, most=3)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    seen = len(started)
    time.sleep(0.05)
    assert len(started) == seen < 10


def test_no_thread_stays_when_the_caller_stops() -> None:
    results = ahead(range(100), lambda n: n, lambda _: 1, threads=3, most=10)
    next(results)
    results.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]
