"""Ranking metrics against plain Python, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizrec_spark.kernels.ranking import ndcg_at_k, recall_at_k

_lists = st.integers(1, 8).flatmap(
    lambda k: st.lists(
        st.tuples(st.lists(st.booleans(), min_size=k, max_size=k), st.integers(0, 9)), min_size=1, max_size=6
    )
)


@given(lists=_lists)
def test_plain_python_says_the_same(lists: list[tuple[list[bool], int]]) -> None:
    hits = np.array([row for row, _ in lists])
    relevant = np.array([sum(row) + missed for row, missed in lists])
    ndcg, recall = ndcg_at_k(hits, relevant), recall_at_k(hits, relevant)
    for i, (row, missed) in enumerate(lists):
        total = sum(row) + missed
        if total == 0:
            assert math.isnan(ndcg[i]) and math.isnan(recall[i])
            continue
        gain = sum(1 / math.log2(rank + 1) for rank, hit in enumerate(row, 1) if hit)
        best = sum(1 / math.log2(rank + 1) for rank in range(1, min(total, len(row)) + 1))
        assert ndcg[i] == pytest.approx(gain / best)
        assert recall[i] == pytest.approx(sum(row) / total)
        assert 0 <= ndcg[i] <= 1 + 1e-12


def test_by_hand() -> None:
    hits = np.array([[False, True, False], [True, True, True]])
    assert ndcg_at_k(hits, np.array([1, 5])) == pytest.approx([1 / math.log2(3), 1.0])
    assert recall_at_k(hits, np.array([1, 5])) == pytest.approx([1.0, 0.6])


def test_impossible_input_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        ndcg_at_k(np.array([[True, True]]), np.array([1]))
    with pytest.raises(ValueError, match="expected hits"):
        recall_at_k(np.array([[1.0]]), np.array([1]))  # type: ignore[arg-type]
