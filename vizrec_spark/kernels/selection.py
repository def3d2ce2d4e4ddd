"""The k best of a stream of score blocks, row by row, in one compiled scan.

A row keeps its k best so far as a heap whose root is the worst of them. A score block is read once: scores are
compared with the root's in runs that the compiler turns into vector instructions, and only the few that beat
it are looked at one by one. Selection then costs about as much as reading the scores.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.kernels.compiled import compiled

PAD_KEY = -1
"""The key that stands where a row has no further candidate."""

Scores = NDArray[np.floating]
Keys = NDArray[np.int64]


class Selection:
    """The k best of each of `rows` rows, of all that `scan` has been shown.

    A higher score is better; of two equal scores the smaller key comes first. ``-inf`` and NaN are no candidates.
    """

    def __init__(self, rows: int, k: int, dtype: type[np.floating] = np.float32) -> None:
        """Raises: ValueError when k < 1."""
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        self._values = np.full((rows, k), -np.inf, dtype=dtype)
        self._keys = np.full((rows, k), PAD_KEY, dtype=np.int64)

    def scan(self, scores: Scores, first_key: int = 0, *, first_row: int = 0) -> None:
        """Takes in a block of scores (q × n, of the selection's dtype).

        Its column j is the candidate with key `first_key` + j, and its row i belongs to row `first_row` + i.
        A key must not come twice to a row. Blocks may come in any order, and threads may scan into different
        rows at a time.
        """
        rows = slice(first_row, first_row + len(scores))
        _scan(scores, first_key, self._values[rows], self._keys[rows])

    def best(self) -> tuple[Scores, Keys]:
        """Scores and keys (rows × k), best first; ``-inf`` and `PAD_KEY` behind the last candidate."""
        return _sorted(self._values, self._keys)


def _sorted(values: Scores, keys: Keys) -> tuple[Scores, Keys]:
    # -inf sorts last by its value, so what padding has for a key does not matter.
    order = np.lexsort((keys, -values), axis=-1)
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(keys, order, axis=1)


_RUN = 64


@compiled
def _scan(scores, first_key, values, keys):  # type: ignore[no-untyped-def]
    rows, columns = scores.shape
    for row in range(rows):
        heap, names = values[row], keys[row]
        line = scores[row]
        bar = heap[0]
        for start in range(0, columns, _RUN):
            end = min(start + _RUN, columns)
            above = 0
            for column in range(start, end):
                above += line[column] >= bar
            if above == 0:
                continue
            for column in range(start, end):
                score, key = line[column], first_key + column
                # An equal score gets in only with a smaller key; -inf never does, for padding has the key -1.
                if score > bar or (score == bar and key < names[0]):
                    replace_root(heap, names, score, key)
                    bar = heap[0]


@compiled
def replace_root(heap, names, score, key):  # type: ignore[no-untyped-def]
    """Puts (score, key) in the place of the worst entry and lets it sink to where it belongs."""
    size, at = len(heap), 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        other = child + 1
        if other < size and (
            heap[other] < heap[child] or (heap[other] == heap[child] and names[other] > names[child])
        ):
            child = other
        if heap[child] > score or (heap[child] == score and names[child] < key):
            break
        heap[at], names[at] = heap[child], names[child]
        at = child
    heap[at], names[at] = score, key
