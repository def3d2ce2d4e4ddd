"""The best candidates of each query among the members of the cells that it probes, and their exact scores.

Queries that probe a cell are scored against all its members in one matrix product, and a compiled scan keeps the
best of each. A pair that meets in several cells counts once. What a candidate must fulfil besides (`Admission`)
is asked only of the few that beat a query's worst so far, so that filters cost next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.kernels.compiled import compiled, compiled_sums
from vizrec_spark.kernels.inverted import InvertedLists
from vizrec_spark.kernels.selection import PAD_KEY, replace_root

Floats = NDArray[np.float32]

ANY_GROUP = -2
"""As a query's group: candidates of every group that may be offered."""
NEVER_OFFERED = -1
"""As a candidate's group: no query gets it."""


def _none(dtype: type) -> NDArray:
    return np.zeros(0, dtype=dtype)


@dataclass(frozen=True)
class Admission:
    """Which candidates a query may get. Arrays of length 0 ask nothing.

    group: n int32, of candidates; wanted: q int32, of queries: they must be equal, see `ANY_GROUP` and
    `NEVER_OFFERED`. price: n float32; low, high: q float32, both ends included; an unknown price (NaN) is outside
    every band, and a query whose own bounds are NaN takes any. banned: numbers that query i must not get, ascending,
    at ``banned[banned_from[i]:banned_from[i + 1]]`` (int32, int64).
    """

    group: NDArray[np.int32] = field(default_factory=lambda: _none(np.int32))
    wanted: NDArray[np.int32] = field(default_factory=lambda: _none(np.int32))
    price: Floats = field(default_factory=lambda: _none(np.float32))
    low: Floats = field(default_factory=lambda: _none(np.float32))
    high: Floats = field(default_factory=lambda: _none(np.float32))
    banned: NDArray[np.int32] = field(default_factory=lambda: _none(np.int32))
    banned_from: NDArray[np.int64] = field(default_factory=lambda: _none(np.int64))

    def of_queries(self, rows: NDArray[np.int64]) -> Admission:
        """The same for some of the queries, by position."""
        banned, banned_from = self.banned, self.banned_from
        if len(banned_from):
            lengths = np.diff(banned_from)[rows]
            starts = np.zeros(len(rows) + 1, dtype=np.int64)
            np.cumsum(lengths, out=starts[1:])
            inside = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
            banned, banned_from = banned[np.repeat(banned_from[rows], lengths) + inside], starts
        return replace(
            self,
            wanted=self.wanted[rows] if len(self.wanted) else self.wanted,
            low=self.low[rows] if len(self.low) else self.low,
            high=self.high[rows] if len(self.high) else self.high,
            banned=banned,
            banned_from=banned_from,
        )


EVERYTHING = Admission()


class Rows(Protocol):
    """Rows of a matrix by slice or by number."""

    def __getitem__(self, rows: slice | NDArray[np.integer], /) -> Floats: ...


class CandidateHeaps:
    """The `width` best candidates of each of `queries` queries so far."""

    def __init__(self, queries: int, width: int) -> None:
        self._scores = np.full((queries, width), -np.inf, dtype=np.float32)
        self._names = np.full((queries, width), PAD_KEY, dtype=np.int64)

    def scan(
        self,
        scores: Floats,
        rows: NDArray[np.int64],
        members: NDArray[np.int32],
        own: NDArray[np.int64],
        admission: Admission,
        *,
        repeats: bool,
    ) -> None:
        """Takes in `scores` (a × m): of query `rows[i]` with candidate number `members[j]`.

        `own` (q int64) is each query's own number among the candidates, which it does not get, or -1. `repeats`:
        whether a pair may come again.
        """
        _scan(
            scores, rows, members, own, repeats, self._scores, self._names,
            admission.group, admission.wanted, admission.price, admission.low, admission.high,
            admission.banned, admission.banned_from,
        )  # fmt: skip

    def best(self) -> tuple[Floats, NDArray[np.int64]]:
        """Scores and numbers (queries × width), best first, ties by number; -inf and `PAD_KEY` behind the last."""
        order = np.lexsort((self._names, -self._scores), axis=-1)
        return np.take_along_axis(self._scores, order, axis=1), np.take_along_axis(self._names, order, axis=1)

    def names(self) -> NDArray[np.int64]:
        """The numbers alone, in no order."""
        return self._names


def probe_lists(
    queries: Floats,
    probes: NDArray[np.int32],
    points: Rows,
    lists: InvertedLists,
    width: int,
    own: NDArray[np.int64],
    admission: Admission = EVERYTHING,
    *,
    repeats: bool,
) -> CandidateHeaps:
    """The `width` best of each query (q × r) by inner product with `points` (n × r) in the cells of `probes` (q × p).

    No code may stand twice in a row of `probes`; negative codes are skipped.
    """
    heaps = CandidateHeaps(len(queries), width)
    flat = probes.reshape(-1)
    order = np.argsort(flat, kind="stable")
    codes = flat[order]
    rows = order // probes.shape[1]
    starts = np.flatnonzero(np.diff(codes, prepend=np.int32(-2)))
    for start, end in zip(starts, [*starts[1:], len(codes)], strict=True):
        code = codes[start]
        if code < 0:
            continue
        members = lists.members[lists.starts[code] : lists.starts[code + 1]]
        if not len(members):
            continue
        asking = rows[start:end]
        contiguous = members[-1] - members[0] == len(members) - 1
        there = points[members[0] : members[-1] + 1] if contiguous else points[members]
        everyone = len(asking) == len(queries)
        scores = (queries if everyone else queries[asking]) @ there.T
        heaps.scan(scores, asking, members, own, admission, repeats=repeats)
    return heaps


def pair_products(queries: Floats, base: Floats, numbers: NDArray[np.int64]) -> Floats:
    """The inner products (q × m float32) of query i with the rows `numbers[i]` of `base`; 0 for `PAD_KEY`.

    Each is summed in one fixed order, so that a pair's score does not depend on what it is scored together with.
    """
    found = np.zeros(numbers.shape, dtype=np.float32)
    _pair_products(np.ascontiguousarray(queries), base, numbers, found)
    return found


@compiled
def _scan(  # type: ignore[no-untyped-def]
    scores, rows, members, own, repeats, values, names,
    group, wanted, price, low, high, banned, banned_from,
):  # fmt: skip
    columns = scores.shape[1]
    for i in range(len(rows)):
        row = rows[i]
        heap, keys = values[row], names[row]
        line = scores[i]
        bar = heap[0]
        for start in range(0, columns, 64):
            end = min(start + 64, columns)
            above = 0
            for column in range(start, end):
                above += line[column] >= bar
            if above == 0:
                continue
            for column in range(start, end):
                score, key = line[column], np.int64(members[column])
                if not (score > bar or (score == bar and key < keys[0])) or key == own[row]:
                    continue
                if len(group) and (group[key] < 0 or (wanted[row] >= 0 and group[key] != wanted[row])):
                    continue
                if len(price) and not (low[row] != low[row] or low[row] <= price[key] <= high[row]):
                    continue
                if len(banned_from):
                    at, stop = banned_from[row], banned_from[row + 1]
                    while at < stop and banned[at] != key:
                        at += 1
                    if at < stop:
                        continue
                if repeats:
                    known = False
                    for entry in keys:
                        known |= entry == key
                    if known:
                        continue
                replace_root(heap, keys, score, key)
                bar = heap[0]


@compiled_sums
def _pair_products(queries, base, numbers, found):  # type: ignore[no-untyped-def]
    for i in range(numbers.shape[0]):
        query = queries[i]
        for j in range(numbers.shape[1]):
            number = numbers[i, j]
            if number < 0:
                continue
            other = base[number]
            total = np.float32(0)
            for at in range(len(query)):
                total += query[at] * other[at]
            found[i, j] = total
