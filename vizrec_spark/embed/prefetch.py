"""Decode pictures in background threads, ahead of the model, within a bound on pictures and bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Done = TypeVar("Done")

AHEAD_BYTES = 64 * 1024 * 1024
"""Most bytes, compressed and decoded together, that wait for the model in one Python worker."""


def ahead(
    items: Iterable[Item],
    work: Callable[[Item], Done],
    cost: Callable[[Item], int],
    *,
    threads: int,
    most: int,
    most_bytes: int = AHEAD_BYTES,
) -> Iterator[Done]:
    """``map(work, items)``, in order, on `threads` threads.

    While the caller works on a result, up to `most` further items, of `most_bytes` together by `cost`, are taken
    and worked on; one is always allowed. An exception of `work` or of `items` comes out in its place, and nothing
    goes on in the background after it, or after the caller has stopped iterating.
    """
    waiting: deque[tuple[Future[Done], int]] = deque()
    held = 0
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        for item in items:
            size = cost(item)
            while waiting and (len(waiting) >= most or held + size > most_bytes):
                future, freed = waiting.popleft()
                held -= freed
                yield future.result()
            waiting.append((pool.submit(work, item), size))
            held += size
        while waiting:
            yield waiting.popleft()[0].result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
