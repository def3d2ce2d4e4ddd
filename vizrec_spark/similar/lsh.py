"""Random-hyperplane hashing: which vectors are worth comparing, and how many tables and bits that takes.

A hash bit is the side of a random hyperplane on which a vector lies. Two vectors at angle θ agree in a bit
with probability 1 − θ/π (Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002).
A bucket of one table is the set of vectors that agree in all its bits; a pair is a candidate if it shares
the bucket of at least one table, so with b bits and T tables its chance is 1 − (1 − (1 − θ/π)^b)^T.
Vectors are hashed as unit vectors less their mean: see `centre`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.similar.scoring import unit_rows

MAX_BITS = 24
MAX_TABLES = 64

# What it costs to copy one vector into one more table (shuffle, sort, Arrow, a list of k neighbours to
# merge) in units of one scored pair, both of some thousand dimensions: about 50 µs against 50 ns.
COPY_COST = 1000

# The cosine, after centring, that a neighbour worth finding has, where nothing was measured.
TYPICAL_COSINE = 0.6


@dataclass(frozen=True)
class LshParams:
    """tables and bits: at least 1 (bits at most 24); bucket_cap: rows compared at once, at least 2."""

    tables: int
    bits: int
    seed: int = 0
    bucket_cap: int = 4096

    def __post_init__(self) -> None:
        if self.tables < 1 or not 1 <= self.bits <= MAX_BITS or self.bucket_cap < 2:
            raise ValueError(
                f"expected tables >= 1, bits from 1 to {MAX_BITS} and bucket_cap >= 2, got {self}"
            )


def agreement(cosine: NDArray[np.floating] | float) -> NDArray[np.float64]:
    """The chance that one bit agrees for two centred vectors of this cosine: 1 − θ/π, from 0 to 1."""
    return 1 - np.arccos(np.clip(np.asarray(cosine, dtype=np.float64), -1, 1)) / math.pi


def expected_recall(cosines: Sequence[float], *, tables: int, bits: int, kept: float = 1.0) -> float:
    """The share of pairs with these centred cosines that become candidates, on average over planes.

    `kept` is the share (0 to 1) of a bucket's pairs that stay together when it is split at the cap.
    """
    return float(np.mean(1 - (1 - kept * agreement(np.asarray(cosines)) ** bits) ** tables))


def choose_params(
    n_items: int,
    *,
    target_recall: float,
    tables: int | None = None,
    bits: int | None = None,
    neighbor_cosines: Sequence[float] = (TYPICAL_COSINE,),
    seed: int = 0,
    bucket_cap: int = 4096,
) -> LshParams:
    """Tables and bits that reach `target_recall` (0 to 1, exclusive) at the least work; given ones stay.

    For each number of bits b, T is the smallest number of tables with `expected_recall` of
    `neighbor_cosines` (centred cosines of true neighbours, a sample if there is one) at the target; a mean
    bucket n / 2^b beyond the cap keeps cap / (n / 2^b) of its pairs. The work of an item is then
    T × (`COPY_COST` + the mean bucket, capped) scored pairs; the cheapest b is taken. At most 64 tables:
    where no b reaches the target with them, the one that comes nearest to it is taken.
    """
    if not 0 < target_recall < 1:
        raise ValueError(f"target_recall must lie between 0 and 1, got {target_recall}")
    if not len(neighbor_cosines):  # a single item has no neighbour to measure
        neighbor_cosines = (TYPICAL_COSINE,)
    options = []
    for b in range(1, MAX_BITS + 1) if bits is None else [bits]:
        bucket = max(n_items / 2**b, 1.0)
        kept = min(1.0, bucket_cap / bucket)
        recall = partial(expected_recall, neighbor_cosines, bits=b, kept=kept)
        t = tables or next((t for t in range(1, MAX_TABLES) if recall(tables=t) >= target_recall), MAX_TABLES)
        missed = max(0.0, target_recall - recall(tables=t))
        options.append((missed, t * (COPY_COST + bucket * kept), b, t))
    _, _, best_bits, best_tables = min(options)
    return LshParams(best_tables, best_bits, seed, bucket_cap)


def hyperplanes(dimension: int, params: LshParams) -> NDArray[np.float32]:
    """The planes' normals, dimension × (tables · bits), standard normal; the same for the same seed."""
    generator = np.random.default_rng([params.seed, dimension])
    return generator.standard_normal((dimension, params.tables * params.bits), dtype=np.float32)


def bucket_keys(
    matrix: NDArray[np.float32], mean: NDArray[np.float32], planes: NDArray[np.float32], bits: int
) -> NDArray[np.int64]:
    """The bucket of each vector (n × d, raw) in each table: n × tables, values 0 to 2^bits − 1.

    A vector is scaled to length 1 (a zero vector stays zero) and `mean` (d) is taken off before hashing.
    """
    sides = (unit_rows(matrix) - mean) @ planes >= 0
    weights = 2 ** np.arange(bits, dtype=np.int64)
    return sides.reshape(len(matrix), -1, bits) @ weights
