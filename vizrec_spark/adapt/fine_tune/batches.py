"""Rows of a mapped array as `tf.data`: in an order that each epoch has of its own, or as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


class Source(Protocol):
    """What has something of one shape and kind for each row: an array, or what acts like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, ...)."""
        ...

    @property
    def dtype(self) -> Any:
        """Kind of its numbers."""
        ...

    def __getitem__(self, rows: Rows, /) -> NDArray[Any]:
        """What there is for some rows, (len(rows), ...)."""
        ...


@dataclass
class Clock:
    """The epoch that is learned now, from 0; what is random in an epoch depends on it and a seed alone, so that a run
    that goes on in the middle does as one that was never stopped."""

    seed: int
    epoch: int = 0


def shuffled(
    source: Source, rows: Rows, truth: NDArray[np.bool_], weights: NDArray[np.float32], size: int, clock: Clock
) -> Any:  # fmt: skip
    """Batches (source, truth float32, weight) of `rows`, `size` each, those too few for a last batch left out.

    source (n, ...) and truth (n, classes) by row, weights (len(rows),). Gathered ahead in the background; what is in
    memory is a few batches.
    """
    size = min(size, len(rows))
    steps = len(rows) // size

    def generate() -> Iterator[tuple[Any, Any, Any]]:
        order = np.random.default_rng([clock.seed, clock.epoch]).permutation(len(rows))
        for step in range(steps):
            mine = order[step * size : (step + 1) * size]
            yield source[rows[mine]], truth[rows[mine]].astype(np.float32), weights[mine]

    import tensorflow as tf

    weight = tf.TensorSpec((None,), tf.float32)
    return _dataset(generate, (*_signature(source, truth), weight), steps)


def in_order(source: Source, rows: Rows, truth: NDArray[np.bool_], size: int) -> Any:
    """Batches (source, truth float32) of all `rows`, the last one smaller; see `shuffled`."""

    def generate() -> Iterator[tuple[Any, Any]]:
        for start in range(0, len(rows), size):
            mine = rows[start : start + size]
            yield source[mine], truth[mine].astype(np.float32)

    return _dataset(generate, _signature(source, truth), -(-len(rows) // size))


def _signature(source: Source, truth: NDArray[np.bool_]) -> tuple[Any, Any]:
    import tensorflow as tf

    return (
        tf.TensorSpec((None, *source.shape[1:]), source.dtype),
        tf.TensorSpec((None, truth.shape[1]), tf.float32),
    )


def _dataset(generate: Any, signature: tuple[Any, ...], steps: int) -> Any:
    import tensorflow as tf

    rows = tf.data.Dataset.from_generator(generate, output_signature=signature)
    return rows.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(tf.data.AUTOTUNE)
