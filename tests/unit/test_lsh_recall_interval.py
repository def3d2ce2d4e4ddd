"""Recall: what counts as found, and the interval around what was measured."""

from __future__ import annotations

import numpy as np
import pytest

from vizrec_spark.similar.quality import lists_of_rows, recall_interval, recalls
from vizrec_spark.similar.scoring import Metric, Nearest


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        sample = generator.beta(9, 1, size=60)
        found = recall_interval(list(sample))
        assert found.lo < found.mean < found.hi and found.n_queries == 60
        covered += found.lo <= 0.9 <= found.hi
    assert 0.87 <= covered / 200 <= 0.99


def test_a_perfect_sample_is_not_certainty() -> None:
    few, many = recall_interval([1.0] * 10), recall_interval([1.0] * 1000)
    assert few.mean == few.hi == 1.0
    assert few.lo == pytest.approx(10 / (10 + 1.959964**2), abs=1e-6)  # Wilson's lower end at 10 of 10
    assert few.lo < many.lo < 1.0


def test_no_query_no_recall() -> None:
    with pytest.raises(ValueError, match="at least one query"):
        recall_interval([])


def test_the_interval_holds_the_mean_to_the_last_bit() -> None:
    for n in range(1, 1001):
        for share in (1.0, 0.0, 0.98):
            found = recall_interval([share] * n)
            assert 0 <= found.lo <= found.mean <= found.hi <= 1, (n, share)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_recall_counts_what_is_found_once_and_forgives_ties(metric: Metric) -> None:
    cosine = np.array([[0.9, 0.8], [0.7, 0], [0.5, 0], [0, 0]], np.float32)
    true = Nearest(np.array([[1, 2], [1, -1], [1, -1], [-1, -1]]), cosine, 1 - cosine)
    found = np.array([[3, 4, 4], [1, 1, -1], [-1, -1, -1], [1, 2, 3]])
    again = np.array([[0.8, 0.1, 0.1], [-9, -9, 0], [0, 0, 0], [0, 0, 0]], np.float32)
    score = again if metric == "cosine" else -(1 - again)
    # 3 is as near as the last true one, 4 is not; 1 is right whatever its score; nothing found; nobody to be found.
    assert recalls(found, score, true, metric).tolist() == [0.5, 1, 0]
    # One neighbour named twice is one neighbour.
    assert recalls(np.array([[1, 1]]), np.full((1, 2), 0.9, np.float32), _first(true), metric).tolist() == [
        0.5
    ]


def _first(nearest: Nearest) -> Nearest:
    return Nearest(nearest.keys[:1], nearest.cosine[:1], nearest.distance[:1])


def test_rows_become_lists() -> None:
    lists = lists_of_rows(np.array([2, 0, 2, 2]), np.array([7, 5, 8, 9]), 4)
    assert lists.tolist() == [[5, -1, -1], [-1, -1, -1], [7, 8, 9], [-1, -1, -1]]
