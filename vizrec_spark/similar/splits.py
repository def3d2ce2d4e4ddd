"""How a crowded cell is cut into parts: across one direction, and where that parts members no longer, by their ids.

The rule is a function of an item alone, its located point and the hash of its id, so that whoever looks comes to the
same part. Heights are whole steps of a coarse grid, because the last bits of a product depend on what it is computed
together with; equal pictures, which no direction parts, are told apart by their hashes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Codes = NDArray[np.int32]
Longs = NDArray[np.int64]

STEPS = 4096.0
"""Steps of the grid in one standard deviation of a cell's heights."""

_LEVEL = 1e-5
"""Heights that spread by less than this share of the points' length are rounding, and count as equal."""

NO_EDGE = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Drawn:
    """Items drawn at random: their located points (s × m) and the hashes of their ids (s int64)."""

    located: Floats
    salts: Longs


@dataclass(frozen=True)
class Splits:
    """Crowded cells and their parts.

    crowded: c codes, ascending; directions: c × m, scaled to `STEPS`; heights and salts: the last member of each part
    but the last (c × most parts − 1, `NO_EDGE` behind the last), by height and then by hash; first_part: the code of
    each cell's second part, the first one keeping the code of the cell.
    """

    crowded: Codes = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    directions: Floats = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    heights: Longs = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    salts: Longs = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    first_part: Codes = field(default_factory=lambda: np.zeros(0, dtype=np.int32))

    @property
    def parts(self) -> int:
        """Cells that there are beside those of before."""
        return int((self.heights != NO_EDGE).sum())

    def crowded_entries(self, codes: Codes) -> tuple[Longs, Longs, Longs]:
        """Row and column of the entries of `codes` (n × t) that are crowded cells, and which of these each is."""
        if not len(self.crowded):
            none = np.zeros(0, dtype=np.int64)
            return none, none, none
        at = np.minimum(np.searchsorted(self.crowded, codes), len(self.crowded) - 1)
        rows, columns = np.nonzero(self.crowded[at] == codes)
        return rows, columns, at[rows, columns]

    def heights_of(self, located: Floats, cell: Longs) -> Longs:
        """The height of each point (n × m) in the crowded cell of that place (n)."""
        m = self.directions.shape[1]
        heights = np.einsum("ij,ij->i", located[:, :m], self.directions[cell], dtype=np.float64)
        return np.rint(np.clip(heights, -(2.0**31), 2.0**31)).astype(np.int64)

    def parted(self, located: Floats, salts: Longs, codes: Codes) -> Codes:
        """`codes` (n × t) with each crowded cell replaced by the part in which the item lies."""
        rows, columns, cell = self.crowded_entries(codes)
        if not len(rows):
            return codes
        heights = self.heights_of(located[rows], cell)[:, None]
        edges, edge_salts = self.heights[cell], self.salts[cell]
        part = ((edges < heights) | ((edges == heights) & (edge_salts < salts[rows, None]))).sum(axis=1)
        codes = codes.copy()
        inside = part > 0
        codes[rows[inside], columns[inside]] = self.first_part[cell[inside]] + part[inside] - 1
        return codes


def part_sizes(members: int, cap: int) -> Longs:
    """The sizes of as few even parts of at most `cap` as do."""
    parts = -(-members // cap)
    return np.diff(np.arange(parts + 1) * members // parts)


def part_ends(members: int, cap: int) -> Longs:
    """Which member, counted from 1, is the last one of each of these parts but the last."""
    return np.cumsum(part_sizes(members, cap))[:-1]


def scaled_direction(direction: NDArray[np.floating], members: Floats) -> Floats:
    """`direction` (m) so long that the heights of `members` (n × m) spread by `STEPS`; zero where all are equal."""
    heights = members.astype(np.float64) @ direction
    length = np.sqrt(np.square(members, dtype=np.float64).sum(axis=1).mean()) if len(members) else 0.0
    spread = heights.std() if len(members) > 1 else 0.0
    if spread <= _LEVEL * length:
        return np.zeros(len(direction), dtype=np.float32)
    return (np.asarray(direction, dtype=np.float64) * (STEPS / spread)).astype(np.float32)


def widest_direction(members: Floats) -> Floats:
    """The scaled direction of the largest spread of `members` (n × m)."""
    if len(members) < 2:
        return np.zeros(members.shape[1], dtype=np.float32)
    spread = members - members.mean(axis=0, dtype=np.float64)
    return scaled_direction(np.linalg.eigh(spread.T @ spread)[1][:, -1], members)
