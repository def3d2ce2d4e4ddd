"""The space of looks: a map of some items, groups of near-duplicates, and the items whose look-alikes are weakest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Row, Window
from pyspark.sql import functions as F

from vizrec_spark.report.model import Answer, Item
from vizrec_spark.stage import StageContext
from vizrec_spark.tables.schemas import COMPARED_ITEMS, ITEM_NEIGHBORS, NEAR_DUPLICATES

GROUPS, OF_A_GROUP, WEAKEST, BESIDE = 6, 8, 6, 4
"""Groups of near-duplicates and items shown of each; items with the weakest look-alikes, and how many beside each."""

_COLUMNS = 22


@dataclass(frozen=True)
class SpaceRows:
    """What the tables know: the looks of some items, near-duplicates, weakest look-alikes, and ids of all in them."""

    looks: Sequence[Row] = ()
    duplicates: Sequence[Row] = ()
    weak: Sequence[Row] = ()

    @property
    def item_ids(self) -> set[str]:
        """Every item that the rows name."""
        mine = {row.item_id for rows in (self.looks, self.duplicates, self.weak) for row in rows}
        return mine | {row.neighbor_id for row in self.weak}


@dataclass(frozen=True)
class Tile:
    """An item on the map, at a row and column from 1."""

    item: Item
    row: int
    column: int


@dataclass(frozen=True)
class Group:
    """Items that show nearly the same picture; `size`: all of the group."""

    size: int
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Weak:
    """An item with its nearest look-alikes and their cosines."""

    item: Item
    near: tuple[tuple[Item, float], ...]


@dataclass(frozen=True)
class Space:
    """Section `space`; `share`: how much of what tells pictures apart the map shows (0 to 1), null where not known;
    `off`: nobody wants a map; `apart`: near-duplicates are not looked for."""

    tiles: tuple[Tile, ...] = ()
    rows: int = 0
    columns: int = 0
    share: float | None = None
    groups: tuple[Group, ...] = ()
    weakest: tuple[Weak, ...] = ()
    off: bool = False
    apart: bool = False
    answer: Answer | None = None

    anchor = "space"
    label = "Map"
    template = "space.html.j2"


def read_space(context: StageContext, encoder_id: str | None, n: int) -> SpaceRows:
    """The rows of one encoder, `n` items for the map; runs three jobs."""
    looks, duplicates, neighbors = (
        context.tables.pinned_or_empty(table).where(F.col("encoder_id") == F.lit(encoder_id))
        for table in (COMPARED_ITEMS, NEAR_DUPLICATES, ITEM_NEIGHBORS)
    )
    return SpaceRows(
        map_sample(looks, n).collect() if n else (),
        largest_groups(duplicates).collect(),
        weakest(neighbors).collect(),
    )


def map_sample(looks: DataFrame, n: int) -> DataFrame:
    """`item_id`, `looks` of `n` items that have looks, drawn by a hash of the id."""
    lot = (F.xxhash64("item_id"), F.col("item_id"))
    return looks.where(F.size("looks") > 0).orderBy(*lot).limit(n).select("item_id", "looks")


def largest_groups(duplicates: DataFrame) -> DataFrame:
    """`group_id`, `group_size`, `item_id` of the `GROUPS` largest groups, of each the first items by id."""
    # The item that names its group is one of it.
    heads = duplicates.where("item_id = group_id").orderBy(F.desc("group_size"), "group_id").limit(GROUPS)
    few = duplicates.join(F.broadcast(heads.select("group_id")), "group_id", "left_semi")
    placed = few.withColumn("place", F.row_number().over(Window.partitionBy("group_id").orderBy("item_id")))
    return placed.where(F.col("place") <= OF_A_GROUP).select("group_id", "group_size", "item_id", "place")


def weakest(neighbors: DataFrame) -> DataFrame:
    """`item_id`, `rank`, `neighbor_id`, `cosine` of the `WEAKEST` items whose nearest look-alike is least alike."""
    first = neighbors.where("rank = 1").orderBy("cosine", "item_id").limit(WEAKEST)
    near = neighbors.where(F.col("rank") <= BESIDE)
    return near.join(F.broadcast(first.select("item_id")), "item_id").select(
        "item_id", "rank", "neighbor_id", "cosine"
    )


def show_space(
    found: SpaceRows,
    known: Mapping[str, Item],
    mean_cosine: float | None,
    n_compared: int,
    *,
    off: bool = False,
    apart: bool = False,
) -> Space:
    """The section; `mean_cosine` of two different items of the `n_compared`, by which the share of the map is known.
    `off`, `apart`: as in `Space`."""
    pictured = [row for row in found.looks if known[row.item_id].picture is not None]
    tiles: tuple[Tile, ...] = ()
    share, n_rows = None, 0
    if len(pictured) > 1:
        looks = np.array([row.looks for row in pictured], dtype=np.float64)
        places, kept = plane(looks)
        if mean_cosine is not None and n_compared > 2:
            share = min(1.0, kept / unit_variance(mean_cosine, n_compared))
        cells = grid(places, _COLUMNS)
        n_rows = int(cells[:, 0].max()) + 1
        tiles = tuple(
            Tile(known[row.item_id], int(r) + 1, int(c) + 1)
            for row, (r, c) in sorted(zip(pictured, cells, strict=True), key=lambda pair: tuple(pair[1]))
        )
    groups, weakest = _groups(found.duplicates, known), _weak(found.weak, known)
    return Space(tiles, n_rows, _COLUMNS, share, groups, weakest, off, apart)


def plane(looks: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Where rows (n × l) lie on their two directions of most variance (n × 2), and the variance that is in these."""
    centred = looks - looks.mean(axis=0)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    two = directions[:2]
    # Of two opposite directions the one whose largest number is positive, so that every run draws the same map.
    signs = np.sign(two[np.arange(len(two)), np.abs(two).argmax(axis=1)])
    places = centred @ (two * signs[:, None]).T
    if places.shape[1] == 1:
        places = np.column_stack([places, np.zeros(len(places))])
    return places, float((values[:2] ** 2).sum() / len(looks))


def unit_variance(mean_cosine: float, n: int) -> float:
    """The variance of n unit vectors, all directions together, from the mean cosine c of two different ones:
    1 − |mean|² with |mean|² = (c (n − 1) + 1) / n."""
    return max(1.0 - (mean_cosine * (n - 1) + 1.0) / n, 1e-9)


def grid(places: NDArray[np.float64], columns: int) -> NDArray[np.int64]:
    """A cell of its own (row, column from 0) for each place (n × 2), as near as is free, those in the middle first.

    Half as many cells again as places, so that empty ones show where the map is thin. What lies far out is drawn to the
    border.
    """
    n = len(places)
    rows = max(2, -(-3 * n // (2 * columns)))
    low, high = np.quantile(places, [0.03, 0.97], axis=0)
    scaled = np.clip((places - low) / np.maximum(high - low, 1e-12), 0, 1)
    wanted = np.column_stack([(1 - scaled[:, 1]) * (rows - 1), scaled[:, 0] * (columns - 1)])
    cells = np.array([(r, c) for r in range(rows) for c in range(columns)], dtype=np.int64)
    free = np.ones(len(cells), dtype=bool)
    out = np.zeros((n, 2), dtype=np.int64)
    for i in np.argsort(np.abs(scaled - 0.5).max(axis=1), kind="stable"):
        far = np.where(free, ((cells - wanted[i]) ** 2).sum(axis=1), np.inf)
        best = int(far.argmin())
        free[best], out[i] = False, cells[best]
    return out


def _groups(rows: Sequence[Row], known: Mapping[str, Item]) -> tuple[Group, ...]:
    of: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (-row.group_size, row.group_id, row.place)):
        of[row.group_id].append(row)
    return tuple(Group(mine[0].group_size, tuple(known[row.item_id] for row in mine)) for mine in of.values())


def _weak(rows: Sequence[Row], known: Mapping[str, Item]) -> tuple[Weak, ...]:
    of: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["rank"]):
        of[row.item_id].append(row)
    ordered = sorted(of.items(), key=lambda pair: (pair[1][0].cosine, pair[0]))
    return tuple(
        Weak(known[item_id], tuple((known[row.neighbor_id], row.cosine) for row in mine))
        for item_id, mine in ordered
    )
