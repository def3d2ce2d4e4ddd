"""No cell above the cap: crowded ones are cut into parts, and what that took is counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.kernels.candidates import Rows
from vizrec_spark.kernels.inverted import invert
from vizrec_spark.similar.generators import Cells, Codes, Flat, Generator, Hashes
from vizrec_spark.similar.splits import NO_EDGE, Drawn, Longs, Splits, part_ends, part_sizes


@dataclass(frozen=True)
class Occupancy:
    """How full the cells are. largest: members of the fullest; split: cells above the cap, which were cut;
    cut_pairs: unordered pairs of members that no cell holds any longer because of that, summed over tables."""

    largest: int
    split: int
    cut_pairs: int


def capped(
    generator: Generator, located: Rows, salts: Longs, homes: Codes, cap: int, drawn: Drawn
) -> tuple[Generator, Codes, Occupancy]:
    """`generator` with no cell above `cap` members, the homes (n × t) that go with it, and what that took.

    `homes`: the cells of all n items by their located points and the hashes of their ids (`salts`); `drawn`: items from
    which the directions of the cuts are learnt.
    """
    if isinstance(generator, Flat):
        return generator, homes, Occupancy(generator.n_items, 0, 0)
    if not isinstance(generator, Cells | Hashes):
        raise TypeError(f"expected one of the generators of this package, got {type(generator).__name__}")
    sizes = np.bincount(homes.reshape(-1), minlength=generator.cells)
    begun, occupancy = begin_splits(generator, sizes, cap, drawn), occupancy_of(generator, sizes, cap)
    if len(begun.crowded):
        lists, homes = invert(homes, generator.cells), homes.copy()
        edges: dict[int, tuple[Longs, Longs]] = {}
        for place, code in enumerate(begun.crowded):
            members = lists.of(code).astype(np.int64)
            heights = begun.heights_of(located[members], np.full(len(members), place))
            order = np.lexsort((salts[members], heights))
            members, heights, parts = members[order], heights[order], part_sizes(len(members), cap)
            last = part_ends(len(members), cap) - 1
            edges[int(code)] = heights[last], salts[members[last]]
            number = np.repeat(np.arange(len(parts)), parts)
            renamed = np.where(number > 0, begun.first_part[place] + number - 1, code).astype(np.int32)
            homes[members] = np.where(homes[members] == code, renamed[:, None], homes[members])
        generator = divided(generator, with_edges(begun, edges), drawn)
    return generator, homes, occupancy


def begin_splits(generator: Cells | Hashes, sizes: Longs, cap: int, drawn: Drawn) -> Splits:
    """The crowded cells, of those with so many members each, and the directions across which they are cut."""
    crowded = np.flatnonzero(sizes > cap).astype(np.int32)
    if not len(crowded):
        return Splits()
    homes = generator.homes(drawn.located, np.arange(len(drawn.located)), drawn.salts)
    parts = -(-sizes[crowded] // cap)
    first = generator.cells + np.concatenate([[0], np.cumsum(parts - 1)[:-1]])
    return Splits(
        crowded,
        generator.directions(crowded, drawn.located, homes),
        np.full((len(crowded), int(parts.max()) - 1), NO_EDGE),
        np.full((len(crowded), int(parts.max()) - 1), NO_EDGE),
        first.astype(np.int32),
    )


def with_edges(begun: Splits, edges: dict[int, tuple[Longs, Longs]]) -> Splits:
    """The same with the edges, heights and salts, of the cells of these codes."""
    heights, salts = begun.heights.copy(), begun.salts.copy()
    for place, code in enumerate(begun.crowded):
        if int(code) in edges:
            found, theirs = edges[int(code)]
            heights[place, : len(found)], salts[place, : len(found)] = found, theirs
    return Splits(begun.crowded, begun.directions, heights, salts, begun.first_part)


def divided(generator: Cells | Hashes, splits: Splits, drawn: Drawn) -> Cells | Hashes:
    """The generator with its crowded cells in parts."""
    return generator.divided(splits, drawn) if len(splits.crowded) else generator


def occupancy_of(generator: Cells | Hashes, sizes: Longs, cap: int) -> Occupancy:
    """What it takes to cut cells of these sizes down to the cap."""
    crowded = sizes[sizes > cap]
    cut = sum((int(size) ** 2 - int(np.square(part_sizes(int(size), cap)).sum())) // 2 for size in crowded)
    largest = max((int(part_sizes(int(size), cap).max()) for size in crowded), default=0)
    if isinstance(generator, Cells):  # the parts of a cell of centroids are probed like other cells
        cut = 0
    return Occupancy(max(largest, int(sizes[sizes <= cap].max(initial=0))), len(crowded), cut)


def sizes_after(sizes: NDArray[np.int64], cap: int) -> Longs:
    """The members of every cell, parts included, once cells of these sizes are cut."""
    crowded = np.flatnonzero(sizes > cap)
    parts = [part_sizes(int(sizes[code]), cap) for code in crowded]
    after = sizes.copy()
    after[crowded] = [found[0] for found in parts]
    return np.concatenate([after, *(found[1:] for found in parts)])
