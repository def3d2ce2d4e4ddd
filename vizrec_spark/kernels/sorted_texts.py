"""Binary search for texts in sorted texts, all as bytes in a row with the bounds of each, as Arrow holds them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.kernels.compiled import compiled

Bytes = NDArray[np.uint8]
Bounds = NDArray[np.int64]


def sorted_positions(wanted: Bytes, bounds: Bounds, texts: Bytes, ends: Bounds) -> NDArray[np.int64]:
    """Positions (m,) of m wanted texts among n others, -1 where a text is not there.

    Text i is ``wanted[bounds[i] : bounds[i + 1]]``, of m + 1 `bounds`; the others are ``texts`` between n + 1 `ends`,
    in ascending order of their bytes, each once. n · m texts are never compared: log2(n) are, for each wanted one.
    """
    found: NDArray[np.int64] = _search(wanted, bounds, texts, ends)
    return found


@compiled
def _search(wanted, bounds, texts, ends):  # type: ignore[no-untyped-def]
    found = np.full(len(bounds) - 1, -1, dtype=np.int64)
    for at in range(len(found)):
        first, length = bounds[at], bounds[at + 1] - bounds[at]
        low, high = 0, len(ends) - 1
        while low < high:
            middle = (low + high) // 2
            start, other = ends[middle], ends[middle + 1] - ends[middle]
            same = 0
            while same < length and same < other and wanted[first + same] == texts[start + same]:
                same += 1
            if same == length and same == other:
                found[at] = middle
                break
            if same == other or (same < length and texts[start + same] < wanted[first + same]):
                low = middle + 1
            else:
                high = middle
    return found
