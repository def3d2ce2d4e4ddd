"""The interval around a measured recall."""

from __future__ import annotations

import numpy as np
import pytest

from vizrec_spark.similar.quality import recall_interval


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
