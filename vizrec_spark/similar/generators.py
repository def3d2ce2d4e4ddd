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

from vizrec_spark.kernels.candidates import Rows
from vizrec_spark.kernels.hyperplanes import HashTables, home_buckets, probed_buckets
from vizrec_spark.kernels.kmeans import nearest_centroid, nearest_centroids, split_cells

Floats = NDArray[np.float32]
Codes = NDArray[np.int32]


@dataclass(frozen=True)
class Occupancy:
    """How full the cells are. largest: members of the fullest; split: cells above the cap, which were cut;
    cut_pairs: unordered pairs of members that no cell holds any longer because of that, summed over tables."""

    largest: int
    split: int
    cut_pairs: int


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

    def homes(self, located: Floats, numbers: NDArray[np.int64]) -> Codes:
        """The cells (n × t) of items with these numbers."""
        ...

    def probes(self, located: Floats) -> Codes:
        """The cells (q × p) in which queries look, each once; negative for none."""
        ...

    def capped(self, located: Rows, homes: Codes, cap: int) -> tuple[Generator, Codes, Occupancy]:
        """Itself with no cell above `cap` members, the homes that go with it, and what that took."""
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

    def homes(self, located: Floats, numbers: NDArray[np.int64]) -> Codes:
        return (numbers // self.block).astype(np.int32)[:, None]

    def probes(self, located: Floats) -> Codes:
        return np.broadcast_to(np.arange(self.cells, dtype=np.int32), (len(located), self.cells))

    def capped(self, located: Rows, homes: Codes, cap: int) -> tuple[Generator, Codes, Occupancy]:
        return self, homes, Occupancy(self.n_items, 0, 0)


@dataclass(frozen=True)
class Cells:
    """centroids: c × m float32; probed: how many of them a query visits."""

    centroids: Floats
    probed: int
    repeats: bool = False

    @property
    def cells(self) -> int:
        return len(self.centroids)

    def homes(self, located: Floats, numbers: NDArray[np.int64]) -> Codes:
        return nearest_centroid(located, self.centroids)[0][:, None]

    def probes(self, located: Floats) -> Codes:
        return nearest_centroids(located, self.centroids, self.probed)

    def capped(self, located: Rows, homes: Codes, cap: int) -> tuple[Generator, Codes, Occupancy]:
        codes, centroids, split = split_cells(located, homes[:, 0], self.centroids, cap)
        largest = int(np.bincount(codes, minlength=1).max())
        return replace(self, centroids=centroids), codes[:, None], Occupancy(largest, split, 0)


@dataclass(frozen=True)
class Hashes:
    """Tables of which a query visits `probed` buckets each.

    A bucket above the cap is cut into parts across one more direction a table; a query looks into the part on its
    own height. crowded: codes of such buckets, ascending; edges: their parts' upper heights, padded with +inf
    (crowded × most parts − 1); first_part: the code of each bucket's second part.
    """

    tables: HashTables
    probed: int
    cutting: Floats
    crowded: Codes = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    edges: Floats = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    first_part: Codes = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    repeats: bool = True

    @property
    def cells(self) -> int:
        return self.tables.cells + int(np.isfinite(self.edges).sum())

    def homes(self, located: Floats, numbers: NDArray[np.int64]) -> Codes:
        located = located[:, : len(self.tables.planes)]
        return self._parted(located, home_buckets(located, self.tables), 1)

    def probes(self, located: Floats) -> Codes:
        located = located[:, : len(self.tables.planes)]
        codes = probed_buckets(located, self.tables, self.probed)
        return self._parted(located, codes, codes.shape[1] // self.tables.tables)

    def _parted(self, located: Floats, codes: Codes, per_table: int) -> Codes:
        if not len(self.crowded):
            return codes
        at = np.minimum(np.searchsorted(self.crowded, codes), len(self.crowded) - 1)
        rows, columns = np.nonzero(self.crowded[at] == codes)
        bucket = at[rows, columns]
        heights = (located @ self.cutting)[rows, columns // per_table]
        part = (self.edges[bucket] < heights[:, None]).sum(axis=1).astype(np.int32)
        codes = codes.copy()
        inside = part > 0
        codes[rows[inside], columns[inside]] = self.first_part[bucket[inside]] + part[inside] - 1
        return codes

    def capped(self, located: Rows, homes: Codes, cap: int) -> tuple[Generator, Codes, Occupancy]:
        counts = np.bincount(homes.reshape(-1), minlength=self.tables.cells)
        crowded = np.flatnonzero(counts > cap).astype(np.int32)
        if not len(crowded):
            return self, homes, Occupancy(int(counts.max()), 0, 0)
        parts = -(-counts[crowded] // cap)
        edges = np.full((len(crowded), int(parts.max()) - 1), np.inf, dtype=np.float32)
        first = (self.tables.cells + np.concatenate([[0], np.cumsum(parts - 1)[:-1]])).astype(np.int32)
        homes, largest, cut = homes.copy(), int(counts[counts <= cap].max(initial=0)), 0
        for row, code in enumerate(crowded):
            table = int(code) >> self.tables.bits
            members = np.flatnonzero(homes[:, table] == code)
            # Of these members alone, and by the product with all directions that `_parted` takes.
            heights = (located[members][:, : len(self.tables.planes)] @ self.cutting)[:, table]
            order = np.argsort(heights, kind="stable")
            pieces = np.array_split(members[order], parts[row])
            tops = [heights[piece[-1]] for piece in np.array_split(order, parts[row])]
            for number, piece in enumerate(pieces[1:]):
                edges[row, number] = tops[number]
                homes[piece, table] = first[row] + number
            sizes = np.array([len(piece) for piece in pieces])
            largest = max(largest, int(sizes.max()))
            cut += int((len(members) ** 2 - np.square(sizes).sum()) // 2)
        made = replace(self, crowded=crowded, edges=edges, first_part=first)
        return made, homes, Occupancy(largest, len(crowded), cut)
