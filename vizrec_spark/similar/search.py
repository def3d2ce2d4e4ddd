"""The search itself, on arrays: candidates from the probed cells by reduced points, then exact scores of the best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.kernels.candidates import (
    EVERYTHING,
    Admission,
    CandidateHeaps,
    Rows,
    pair_products,
    probe_lists,
)
from vizrec_spark.kernels.inverted import InvertedLists
from vizrec_spark.kernels.selection import PAD_KEY
from vizrec_spark.similar.generators import Generator
from vizrec_spark.similar.reduction import Reduction
from vizrec_spark.similar.scoring import (
    Floats,
    Metric,
    Nearest,
    cosine_of,
    rank_score,
    squared_distance_of,
    squared_norms,
)

NO_SELF = PAD_KEY


@dataclass(frozen=True)
class WholePoints:
    """The candidates' points at full dimension, made from the vectors when asked for."""

    vectors: Floats
    reduction: Reduction

    def __getitem__(self, rows: slice | NDArray[np.integer]) -> Floats:
        return self.reduction.candidates(self.vectors[rows])


@dataclass(frozen=True)
class LocatedPoints:
    """The located points (`Reduction.located`) of items, made from their points when asked for."""

    points: Rows
    reduction: Reduction

    def __getitem__(self, rows: slice | NDArray[np.integer]) -> Floats:
        return self.reduction.located(self.points[rows])


@dataclass(frozen=True)
class Searcher:
    """All that a search needs: vectors n × d, squares n (squared lengths), points n × width, lists over them."""

    reduction: Reduction
    generator: Generator
    lists: InvertedLists
    points: Rows
    vectors: Floats
    squares: Floats
    rerank: int

    def nearest(
        self,
        queries: Floats,
        k: int,
        own: NDArray[np.int64],
        admission: Admission = EVERYTHING,
    ) -> Nearest:
        """The k nearest items of each query (q × d); keys are item numbers, equal values in their order.

        `own` (q): the number of the item that the query is, which it does not get, or `NO_SELF`. Of the candidates
        in the probed cells the `rerank` (at least k) best by reduced points are scored at full dimension.
        """
        heaps = self._probed(queries, max(self.rerank, k), own, admission)
        return rescored(queries, self.vectors, self.squares, heaps.names(), k, self.reduction.metric)

    def ranked(
        self, queries: Floats, own: NDArray[np.int64], admission: Admission = EVERYTHING
    ) -> tuple[Floats, NDArray[np.int64]]:
        """The candidates that `nearest` would score at full dimension, best first: products of reduced points, numbers
        (q × rerank both)."""
        return self._probed(queries, self.rerank, own, admission).best()

    def _probed(
        self, queries: Floats, width: int, own: NDArray[np.int64], admission: Admission
    ) -> CandidateHeaps:
        points = self.reduction.queries(queries)
        return probe_lists(
            points,
            self.generator.probes(self.reduction.located(points)),
            self.points,
            self.lists,
            width,
            own,
            admission,
            repeats=self.generator.repeats,
        )


def rescored(
    queries: Floats,
    vectors: Floats,
    squares: Floats,
    names: NDArray[np.int64],
    k: int,
    metric: Metric,
    *,
    sort: bool = True,
) -> Nearest:
    """The k nearest of the candidates `names` (q × m numbers, `PAD_KEY` for none) by float32 at full dimension.

    Without `sort`, all of them as they come.
    """
    dot = pair_products(queries, vectors, names)
    own_squares, theirs = squared_norms(queries)[:, None], squares[np.maximum(names, 0)]
    cosine = cosine_of(dot, own_squares, theirs)
    distance = np.sqrt(squared_distance_of(dot, own_squares, theirs))
    if not sort:
        return Nearest(names, cosine, distance)
    score = rank_score(cosine, distance, metric, names == PAD_KEY)
    order = np.lexsort((names, -score), axis=-1)[:, :k]
    return Nearest(*(np.take_along_axis(values, order, axis=1) for values in (names, cosine, distance)))
