"""Candidate generators behind one interface: in which cells an item lies, and in which ones a query looks.

`Flat` has every query look everywhere. `Cells` are the Voronoi cells of k-means centroids; a query looks into those
whose centroids are nearest to it. `Hashes` are the buckets of random-hyperplane tables; a query looks into its own
and those that differ in its least certain bits. All see the located points of `reduction.Reduction.located`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.kernels.hyperplanes import HashTables, home_buckets, probed_buckets
from vizrec_spark.kernels.inverted import invert
from vizrec_spark.kernels.kmeans import nearest_centroid, nearest_centroids
from vizrec_spark.similar.splits import (
    NO_EDGE,
    Drawn,
    Longs,
    Splits,
    scaled_direction,
    widest_direction,
)

Floats = NDArray[np.float32]
Codes = NDArray[np.int32]


class Generator(Protocol):
    """Where items lie and where queries look."""

    @property
    def repeats(self) -> bool:
        """Whether a pair may meet in more than one cell."""
        ...

    @property
    def cells(self) -> int:
        """Number of cells; codes are 0 to cells − 1."""
        ...

    def homes(self, located: Floats, numbers: NDArray[np.int64], salts: Longs) -> Codes:
        """The cells (n × t) of items with these numbers and hashes of their ids."""
        ...

    def probes(self, located: Floats) -> Codes:
        """The cells (q × p) in which queries look, each once; negative for none."""
        ...


@dataclass(frozen=True)
class Flat:
    """Every query looks everywhere; the cells are runs of `block` item numbers, which bounds a matrix product."""

    n_items: int
    block: int = 8192
    repeats: bool = False

    @property
    def cells(self) -> int:
        return -(-self.n_items // self.block)

    def homes(self, located: Floats, numbers: NDArray[np.int64], salts: Longs) -> Codes:
        return (numbers // self.block).astype(np.int32)[:, None]

    def probes(self, located: Floats) -> Codes:
        return np.broadcast_to(np.arange(self.cells, dtype=np.int32), (len(located), self.cells))


@dataclass(frozen=True)
class Cells:
    """An item lies in the cell of the nearest of `centroids` (c × m float32), or in a part of it (`splits`).

    probed: how many cells a query visits; reach: where queries see the cells (cells × m float32), which are the
    centroids, and the means of the parts of those that were split.
    """

    centroids: Floats
    probed: int
    splits: Splits = field(default_factory=Splits)
    reach: Floats = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    repeats: bool = False

    @property
    def seen(self) -> Floats:
        """`reach`, split or not."""
        return self.reach if len(self.reach) else self.centroids

    @property
    def cells(self) -> int:
        return len(self.seen)

    def homes(self, located: Floats, numbers: NDArray[np.int64], salts: Longs) -> Codes:
        codes = nearest_centroid(located, self.centroids)[0][:, None]
        return self.splits.parted(located, salts, codes)

    def probes(self, located: Floats) -> Codes:
        return nearest_centroids(located, self.seen, self.probed)

    def directions(self, crowded: Codes, located: Floats, homes: Codes) -> Floats:
        """For each of the `crowded` cells the direction in which those of it among `located` (s × m) spread most."""
        lists = invert(homes, self.cells)
        return np.stack([widest_direction(located[lists.of(code)]) for code in crowded])

    def divided(self, splits: Splits, drawn: Drawn) -> Cells:
        """Itself with `splits`; a part is seen where those of it that were drawn have their mean."""
        made = replace(self, splits=splits)
        reach = np.concatenate(
            [self.centroids, np.zeros((splits.parts, self.centroids.shape[1]), np.float32)]
        )
        parts = (splits.heights != NO_EDGE).sum(axis=1)
        for code, first, count in zip(splits.crowded, splits.first_part, parts, strict=True):
            reach[first : first + count] = self.centroids[code]  # for a part of which nobody was drawn
        homes = made.homes(drawn.located, np.arange(len(drawn.located)), drawn.salts)
        lists = invert(homes, len(reach))
        for code in np.concatenate([splits.crowded, np.arange(len(self.centroids), len(reach))]):
            members = lists.of(code)
            if len(members):
                reach[code] = drawn.located[members].mean(axis=0)
        return replace(made, reach=reach)


@dataclass(frozen=True)
class Hashes:
    """Tables of which a query visits `probed` buckets each.

    A bucket above the cap is cut into parts (`splits`) across one more direction a table, a column of `cutting`
    (m × tables); a query looks into the part on its own height.
    """

    tables: HashTables
    probed: int
    cutting: Floats
    splits: Splits = field(default_factory=Splits)
    repeats: bool = True

    @property
    def cells(self) -> int:
        return self.tables.cells + self.splits.parts

    def homes(self, located: Floats, numbers: NDArray[np.int64], salts: Longs) -> Codes:
        located = located[:, : len(self.tables.planes)]
        return self.splits.parted(located, salts, home_buckets(located, self.tables))

    def probes(self, located: Floats) -> Codes:
        located = located[:, : len(self.tables.planes)]
        codes = probed_buckets(located, self.tables, self.probed)
        # Of equal members a query takes those of the first part that has any.
        return self.splits.parted(located, np.full(len(located), np.iinfo(np.int64).min), codes)

    def directions(self, crowded: Codes, located: Floats, homes: Codes) -> Floats:
        """The cutting direction of each of the `crowded` buckets, scaled for those of it among `located` (s × m)."""
        located = located[:, : len(self.tables.planes)]
        lists, tables = invert(homes, self.tables.cells), crowded >> self.tables.bits
        return np.stack(
            [
                scaled_direction(self.cutting[:, table], located[lists.of(code)])
                for code, table in zip(crowded, tables, strict=True)
            ]
        )

    def divided(self, splits: Splits, drawn: Drawn) -> Hashes:
        """Itself with `splits`."""
        return replace(self, splits=splits)
