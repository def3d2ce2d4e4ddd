"""Random-hyperplane hashing with multi-probe: which buckets a vector lies in, and which others are worth a look.

A hash bit is the side of a random hyperplane on which a vector lies; two vectors at angle θ agree in a bit with
probability 1 − θ/π (Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002). A bucket is
the set of vectors that agree in all bits of a table. Near vectors that a hash has parted most likely differ in the
bits whose planes pass closest to the query: so the buckets that flipping those gives are probed as well (Lv et al.,
"Multi-probe LSH", VLDB 2007).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Codes = NDArray[np.int32]

MAX_BITS = 20
MAX_TABLES = 64

# Bits, in order of how close their planes are, that a probe may flip; and how many of them at once.
_FLIPPABLE = 8
_FLIPS = 3


@dataclass(frozen=True)
class HashTables:
    """Planes' normals: dimension × (tables · bits) float32, standard normal."""

    planes: Floats
    tables: int
    bits: int

    @property
    def cells(self) -> int:
        """Buckets of all tables together; bucket b of table t is cell t · 2^bits + b."""
        return self.tables << self.bits


def draw_tables(dimension: int, tables: int, bits: int, *, seed: int) -> HashTables:
    """Seeded tables; those of fewer tables with as many bits are the first of them.

    Raises: ValueError when tables is not 1 to `MAX_TABLES` or bits not 1 to `MAX_BITS`.
    """
    if not 1 <= tables <= MAX_TABLES or not 1 <= bits <= MAX_BITS:
        raise ValueError(
            f"expected 1 to {MAX_TABLES} tables and 1 to {MAX_BITS} bits, got {tables} and {bits}"
        )
    planes = [
        np.random.default_rng([seed, dimension, bits, table]).standard_normal((dimension, bits), np.float32)
        for table in range(tables)
    ]
    return HashTables(np.concatenate(planes, axis=1), tables, bits)


def home_buckets(points: Floats, hashes: HashTables) -> Codes:
    """The cell of each centred point (n × d) in each table (n × tables int32)."""
    sides = (points @ hashes.planes >= 0).reshape(len(points), hashes.tables, hashes.bits)
    return (sides @ _weights(hashes)).astype(np.int32) + _first_cells(hashes)


def probed_buckets(points: Floats, hashes: HashTables, probes: int) -> Codes:
    """The `probes` most promising cells of each point in each table (n × tables · probes int32), its own first.

    A flip set's cost is the sum of the squared distances of its planes from the point; cheaper sets come first.
    """
    heights = (points @ hashes.planes).reshape(len(points), hashes.tables, hashes.bits)
    home = (heights >= 0) @ _weights(hashes)
    flippable = min(_FLIPPABLE, hashes.bits)
    closest = np.argsort(np.abs(heights), axis=2, kind="stable")[:, :, :flippable]
    costs = np.square(np.take_along_axis(heights, closest, axis=2))
    flips = np.left_shift(1, closest)
    sets = _flip_sets(flippable)
    probes = min(probes, len(sets))
    set_costs = costs @ sets.T.astype(np.float32)
    chosen = np.argsort(set_costs, axis=2, kind="stable")[:, :, :probes]
    # Bits of a set are distinct, so that their sum is their union.
    masks = np.take_along_axis(flips @ sets.T, chosen, axis=2)
    cells = np.bitwise_xor(home[:, :, None], masks) + _first_cells(hashes)[:, None]
    return cells.reshape(len(points), hashes.tables * probes).astype(np.int32)


def most_probes(bits: int) -> int:
    """How many buckets of a table `probed_buckets` can tell apart by their promise."""
    return len(_flip_sets(min(_FLIPPABLE, bits)))


def _flip_sets(bits: int) -> NDArray[np.int64]:
    sets = [flips for size in range(_FLIPS + 1) for flips in combinations(range(bits), size)]
    table = np.zeros((len(sets), bits), dtype=np.int64)
    for row, flips in enumerate(sets):
        table[row, list(flips)] = 1
    return table


def _weights(hashes: HashTables) -> NDArray[np.int64]:
    return 2 ** np.arange(hashes.bits, dtype=np.int64)


def _first_cells(hashes: HashTables) -> Codes:
    return (np.arange(hashes.tables) << hashes.bits).astype(np.int32)
