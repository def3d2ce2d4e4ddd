"""The candidates of a row that may still be among its k best, of scores whose rounding error has a known bound.

If each score is off by at most e, whatever is among the k best in truth scores at least (k-th best score) - 2e. So all
of those are kept, k and the few that rounding cannot tell from them, and whoever scores them exactly has the k best.

A block is read once, for the best score of each run of columns, which fills vector registers. At the first block, the
k-th best of the runs is a bar that at least k scores reach; from then on only runs whose best reaches the bar are
looked into, and what passes is written down without a branch. When it is too much, the bar rises to its k-th best.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.kernels.compiled import compiled, compiled_maxima

_RUN = 32  # columns
_SPARE = 256  # candidates beyond k that a row may hold


class Shortlist:
    """Of each of `rows` rows, the candidates within `slack` of its k-th best score, in ascending order of their keys.

    slack: (rows,) float32, twice the bound on the error of the row's scores, or a little more.
    """

    def __init__(self, rows: int, k: int, slack: NDArray[np.float32]) -> None:
        """Raises: ValueError when k < 1."""
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        self._k, self._slack = k, slack
        self._room = 2 * k + _SPARE
        self._values = np.empty((rows, self._room), dtype=np.float32)
        self.keys = np.empty((rows, self._room), dtype=np.int64)
        self.lengths = np.zeros(rows, dtype=np.int64)
        """How many of `keys` each row holds; -1 where more were within the slack than there is room for."""
        self._bar = np.full(rows, np.finfo(np.float32).min, dtype=np.float32)

    def scan(self, scores: NDArray[np.float32], first_key: int) -> None:
        """Takes in a block of scores (rows × n) of the candidates `first_key`, `first_key` + 1, ...

        Blocks come in ascending order of their keys; ``-inf`` is no candidate, and NaN must not be among them.
        """
        _scan(
            scores,
            first_key,
            self._k,
            self._room,
            self._slack,
            self._values,
            self.keys,
            self.lengths,
            self._bar,
        )

    def close(self) -> None:
        """Leaves only what is within the slack of the k-th best of all."""
        _close(self._k, self._slack, self._values, self.keys, self.lengths)


@compiled
def _scan(scores, first_key, k, room, slack, values, keys, lengths, bars):  # type: ignore[no-untyped-def]
    rows, columns = scores.shape
    runs = (columns + _RUN - 1) // _RUN
    best = np.empty(runs, dtype=np.float32)
    scratch = np.empty(max(values.shape[1], runs), dtype=np.float32)
    for row in range(rows):
        size = lengths[row]
        if size < 0:
            continue
        line, held, names = scores[row], values[row], keys[row]
        bar = bars[row]
        _run_maxima(line, best)
        if first_key == 0 and runs > k:
            bar = max(bar, _kth_best(best, runs, k, scratch) - slack[row])
        for run in range(runs):
            if best[run] < bar:
                continue
            start, end = run * _RUN, min(run * _RUN + _RUN, columns)
            if size + _RUN > room:
                bar = max(bar, _kth_best(held, size, k, scratch) - slack[row])
                size = _cut(held, names, size, bar)
                if size + _RUN > room:
                    size = -1
                    break
            for column in range(start, end):
                score = line[column]
                held[size] = score
                names[size] = first_key + column
                size += 1 if score >= bar else 0
        lengths[row], bars[row] = size, bar


@compiled_maxima
def _run_maxima(line, best):  # type: ignore[no-untyped-def]
    """The best score of each run of columns."""
    whole = len(line) // _RUN
    for run in range(whole):
        part = line[run * _RUN : run * _RUN + _RUN]
        top = part[0]
        for at in range(_RUN):
            top = part[at] if part[at] > top else top
        best[run] = top
    if whole < len(best):
        best[whole] = line[whole * _RUN]
        for at in range(whole * _RUN, len(line)):
            best[whole] = max(best[whole], line[at])


@compiled
def _close(k, slack, values, keys, lengths):  # type: ignore[no-untyped-def]
    scratch = np.empty(values.shape[1], dtype=np.float32)
    for row in range(len(lengths)):
        if lengths[row] > k:
            bar = _kth_best(values[row], lengths[row], k, scratch) - slack[row]
            lengths[row] = _cut(values[row], keys[row], lengths[row], bar)


@compiled
def _kth_best(held, size, k, scratch):  # type: ignore[no-untyped-def]
    for at in range(size):
        scratch[at] = held[at]
    return select(scratch, size, k)


@compiled
def select(values, size, k):  # type: ignore[no-untyped-def]
    """The k-th largest of the first `size` values, which are put in another order, the k largest first (Hoare's
    selection)."""
    low, high, wanted = 0, size - 1, k - 1
    while low < high:
        # The middle of three, so that sorted values are no worst case.
        a, b, c = values[low], values[(low + high) // 2], values[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if wanted <= j:
            high = j
        elif wanted >= i:
            low = i
        else:
            break
    return values[wanted]


@compiled
def _cut(held, names, size, bar):  # type: ignore[no-untyped-def]
    """Drops what is below the bar and keeps the order of the rest; how many are left."""
    left = 0
    for at in range(size):
        score, name = held[at], names[at]
        held[left], names[left] = score, name
        left += 1 if score >= bar else 0
    return left
