"""Numbers in place of item ids: found by binary search among their hashes, which no batch has to build anew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


@dataclass(frozen=True)
class Numbering:
    """ids: all item ids ascending, item i being the i-th; hashes: theirs ascending (n int64); numbers: whose they are.

    Which hash does not matter, as long as it is the same one everywhere (Spark's `xxhash64` here). 16 bytes an item
    beside the ids.
    """

    ids: pa.Array
    hashes: NDArray[np.int64]
    numbers: NDArray[np.int64]

    def of(self, ids: pa.Array, hashes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers of `ids` with these hashes (both m); -1 for an id that is not there."""
        at = np.searchsorted(self.hashes, hashes)
        found = np.full(len(ids), -1, dtype=np.int64)
        open_ = np.arange(len(ids))
        while len(open_):  # once for all, and once more for those whose hash another id has as well
            inside = at[open_] < len(self.hashes)
            open_ = open_[inside]
            open_ = open_[self.hashes[at[open_]] == hashes[open_]]
            number = self.numbers[at[open_]]
            same = pc.equal(self.ids.take(pa.array(number)), ids.take(pa.array(open_)))
            hit = same.to_numpy(zero_copy_only=False)
            found[open_[hit]] = number[hit]
            open_ = open_[~hit]
            at[open_] += 1
        return found


def numbered(ids: pa.Array, hashes: NDArray[np.int64]) -> Numbering:
    """The numbering of `ids` in any order, with their hashes."""
    order = pc.sort_indices(ids).to_numpy()
    hashes = hashes[order]
    by_hash = np.argsort(hashes, kind="stable")
    return Numbering(ids.take(pa.array(order)), hashes[by_hash], by_hash)
