"""Inverted lists: which members each cell has, as one array of members and one of where each cell begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class InvertedLists:
    """Members of cell c: ``members[starts[c]:starts[c + 1]]`` (int32), ascending."""

    starts: NDArray[np.int64]
    members: NDArray[np.int32]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Members of each cell."""
        return np.diff(self.starts)

    def of(self, cell: int) -> NDArray[np.int32]:
        """The members of one cell."""
        return self.members[self.starts[cell] : self.starts[cell + 1]]


def invert(codes: NDArray[np.integer], cells: int) -> InvertedLists:
    """Lists from the cells of each member (n, or n × t where a member lies in t cells), values 0 to cells − 1."""
    flat = codes.reshape(-1)
    width = codes.shape[1] if codes.ndim == 2 else 1
    order = np.argsort(flat, kind="stable")
    starts = np.zeros(cells + 1, dtype=np.int64)
    np.cumsum(np.bincount(flat, minlength=cells), out=starts[1:])
    return InvertedLists(starts, (order // width).astype(np.int32))
