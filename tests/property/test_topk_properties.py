"""Block top-k and its merges against a plain full sort."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vizrec_spark.kernels.compiled import compiled
from vizrec_spark.kernels.selection import Selection
from vizrec_spark.kernels.topk import PAD_KEY, distinct_topk, merge_topk, topk_rows

# Few distinct values, so that ties are the rule; NaN and -inf on purpose.
_values = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0, float("inf"), float("-inf"), float("nan")])
_blocks = hnp.arrays(
    dtype=st.sampled_from([np.float32, np.float64]),
    shape=hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=12),
    elements=_values,
)


def _sorted_row(entries: list[tuple[float, int]], k: int) -> list[tuple[float, int]]:
    """Best score first, smaller key first of equal scores, padded."""
    real = [(score, key) for score, key in entries if score == score and score != float("-inf")]
    real.sort(key=lambda entry: (-entry[0], entry[1]))
    return (real + [(float("-inf"), PAD_KEY)] * k)[:k]


def _rows(values: np.ndarray, keys: np.ndarray) -> list[list[tuple[float, int]]]:
    return [list(zip(map(float, v), map(int, key), strict=True)) for v, key in zip(values, keys, strict=True)]


@given(scores=_blocks, k=st.integers(1, 15))
def test_topk_is_the_head_of_a_full_sort(scores: np.ndarray, k: int) -> None:
    before = scores.copy()
    values, keys = topk_rows(scores, k)
    wanted = [_sorted_row([(float(s), i) for i, s in enumerate(row)], k) for row in scores]
    assert _rows(values, keys) == wanted
    assert values.dtype == scores.dtype and keys.dtype == np.int64
    np.testing.assert_array_equal(scores, before)


@given(rows=st.integers(1, 5), columns=st.integers(50, 400), k=st.integers(1, 60), seed=st.integers(0, 99))
def test_topk_of_wide_blocks_with_ties(rows: int, columns: int, k: int, seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 30, (rows, columns)).astype(np.float32)
    values, keys = topk_rows(scores, k)
    assert _rows(values, keys) == [
        _sorted_row([(float(s), i) for i, s in enumerate(row)], k) for row in scores
    ]


@given(scores=_blocks, k=st.integers(1, 15), data=st.data())
def test_merging_two_parts_is_the_topk_of_the_whole(scores: np.ndarray, k: int, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, scores.shape[1]))
    left, left_keys = topk_rows(scores[:, :cut], k)
    right, right_keys = topk_rows(scores[:, cut:], k)
    right_keys = np.where(right_keys == PAD_KEY, PAD_KEY, right_keys + cut)
    # The part with the larger keys stands first, so that order of arrival cannot pass for order of keys.
    values, keys, columns = merge_topk(right, right_keys, left, left_keys, k)
    whole, whole_keys = topk_rows(scores, k)
    np.testing.assert_array_equal(values, whole)
    np.testing.assert_array_equal(keys, whole_keys)
    side_by_side = np.concatenate([right_keys, left_keys], axis=1)
    there = columns != PAD_KEY
    np.testing.assert_array_equal(there, keys != PAD_KEY)
    np.testing.assert_array_equal(side_by_side[np.nonzero(there)[0], columns[there]], keys[there])


@given(scores=_blocks, k=st.integers(1, 8), seed=st.integers(0, 99))
def test_a_repeated_key_counts_once_with_its_best_score(scores: np.ndarray, k: int, seed: int) -> None:
    keys = np.random.default_rng(seed).integers(0, 5, scores.shape)
    values, best_keys, columns = distinct_topk(scores, keys, k)
    for row, (row_scores, row_keys) in enumerate(zip(scores, keys, strict=True)):
        best: dict[int, float] = {}
        for score, key in zip(map(float, row_scores), map(int, row_keys), strict=True):
            if score == score:
                best[key] = max(score, best.get(key, float("-inf")))
        wanted = _sorted_row([(score, key) for key, score in best.items()], k)
        assert _rows(values, best_keys)[row] == wanted
        for place, (score, key) in enumerate(wanted):
            if key != PAD_KEY:
                assert row_scores[columns[row, place]] == score and row_keys[columns[row, place]] == key


def test_topk_refuses_what_it_cannot_rank() -> None:
    with pytest.raises(ValueError, match="2-d array of float32 or float64"):
        topk_rows(np.zeros(3, dtype=np.float32), 1)
    with pytest.raises(ValueError, match="2-d array of float32 or float64"):
        topk_rows(np.zeros((2, 3), dtype=np.int64), 1)
    with pytest.raises(ValueError, match="at least 1"):
        topk_rows(np.zeros((2, 3), dtype=np.float32), 0)


@given(scores=_blocks, k=st.integers(1, 15), data=st.data())
def test_a_selection_agrees_whatever_the_order_of_its_blocks(
    scores: np.ndarray, k: int, data: st.DataObject
) -> None:
    rows, columns = scores.shape
    cuts = sorted(data.draw(st.lists(st.integers(0, columns), max_size=3)))
    pieces = list(zip([0, *cuts], [*cuts, columns], strict=True))
    selection = Selection(rows, k, scores.dtype.type)
    for first, end in data.draw(st.permutations(pieces)):
        for row in data.draw(st.permutations(range(rows))):
            selection.scan(scores[row : row + 1, first:end], first, first_row=row)
    values, keys = selection.best()
    whole, whole_keys = topk_rows(scores, k)
    np.testing.assert_array_equal(values, whole)
    np.testing.assert_array_equal(keys, whole_keys)


def test_code_compiles_where_no_folder_can_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object, **options: object) -> object:
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return numba_njit(**options)

    numba_njit = numba.njit
    monkeypatch.setattr(numba, "njit", nowhere)

    def added(a, b):  # type: ignore[no-untyped-def]
        return a + b

    assert compiled(added)(2, 3) == 5
