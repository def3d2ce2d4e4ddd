"""Draws the pictures of many products, on several processes where that pays."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vizrec_spark.demo.catalogue import Product
from vizrec_spark.demo.drawing import product_jpeg

_BATCH = 16
_WORTH_A_POOL = 64  # fewer pictures are drawn sooner than processes start

Job = tuple[str, str, str, str, int, int]
"""File, kind, colour, pattern, seed, size in pixels."""


def picture_seed(seed: int, position: int) -> int:
    """The seed of one product's picture, from the shop's seed and the product's position."""
    return int(np.random.SeedSequence([seed, 7, position]).generate_state(1, np.uint64)[0])


def draw_pictures(
    folder: Path, products: Sequence[Product], *, seed: int, size: int, workers: int | None = None
) -> int:
    """Writes the picture of every product that has one below ``folder``; how many were written.

    ``workers`` processes (one a usable core by default) draw; the bytes do not depend on their number. A script
    that calls this with more than one needs the usual ``if __name__ == "__main__"`` guard.
    """
    jobs: list[Job] = [
        (str(folder / p.image), p.kind, p.colour, p.pattern, picture_seed(seed, position), size)
        for position, p in enumerate(products)
        if p.image
    ]
    for parent in {Path(job[0]).parent for job in jobs}:
        parent.mkdir(parents=True, exist_ok=True)
    batches = [jobs[start : start + _BATCH] for start in range(0, len(jobs), _BATCH)]
    workers = workers or len(os.sched_getaffinity(0))
    return sum(_shown(_drawn(batches, workers if len(jobs) >= _WORTH_A_POOL else 1), len(jobs)))


def _drawn(batches: Sequence[Sequence[Job]], workers: int) -> Iterator[int]:
    """Numbers of pictures as they get done."""
    if workers <= 1:
        yield from map(_draw_batch, batches)
        return
    # A forked child of a process with a JVM or with threads may hang; a spawned one imports what it needs.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(_draw_batch, batch) for batch in batches]):
            yield future.result()


def _draw_batch(batch: Sequence[Job]) -> int:
    for file, kind, colour, pattern, seed, size in batch:
        Path(file).write_bytes(product_jpeg(kind, colour, pattern, seed=seed, size=size))
    return len(batch)


def _shown(counts: Iterable[int], total: int) -> Iterator[int]:
    """``counts`` with a progress bar beside them where somebody watches."""
    console = Console(stderr=True)
    columns = (TextColumn("drawing pictures"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        for count in counts:
            bar.advance(task, count)
            yield count
