"""Block top-k of inner products against a full sort in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizrec_spark.kernels import block_topk as kernel
from vizrec_spark.kernels.block_topk import Seen, block_topk
from vizrec_spark.kernels.selection import PAD_KEY


def _csr(rows: list[list[int]]) -> Seen:
    return Seen(
        np.cumsum([0, *map(len, rows)]), np.array([item for row in rows for item in row], dtype=np.int64)
    )


def _oracle(
    queries: np.ndarray, candidates: np.ndarray, k: int, seen: list[list[int]], eligible: np.ndarray
) -> list[list[tuple[float, int]]]:
    lists = []
    for query, met in zip(queries.astype(float), seen, strict=True):
        entries = [
            (float(query @ candidate), key)
            for key, candidate in enumerate(candidates.astype(float))
            if eligible[key] and key not in met
        ]
        entries.sort(key=lambda entry: (-entry[0], entry[1]))
        lists.append((entries + [(-np.inf, PAD_KEY)] * k)[:k])
    return lists


@given(data=st.data(), seed=st.integers(0, 10_000))
def test_it_is_the_head_of_a_full_sort(data: st.DataObject, seed: int) -> None:
    random = np.random.default_rng(seed)
    n, users, rank = (data.draw(st.integers(0, top)) for top in (60, 9, 4))
    # Small whole numbers: products are exact, ties are the rule.
    queries = random.integers(-2, 3, (users, rank)).astype(np.float32)
    candidates = random.integers(-2, 3, (n, rank)).astype(np.float32)
    seen = [random.integers(0, n, random.integers(0, 2 * n)).tolist() if n else [] for _ in range(users)]
    eligible = random.random(n) < data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    k = data.draw(st.integers(1, 70))
    values, keys = block_topk(queries, candidates, k, seen=_csr(seen), eligible=eligible)
    wanted = _oracle(queries, candidates, k, seen, eligible)
    assert values.shape == keys.shape == (users, k)
    assert [
        list(zip(v, key, strict=True)) for v, key in zip(values.tolist(), keys.tolist(), strict=True)
    ] == wanted


def test_tiles_are_seamless(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    queries = random.normal(size=(23, 8)).astype(np.float32)
    candidates = random.normal(size=(101, 8)).astype(np.float32)
    seen = [random.integers(0, 101, 30).tolist() for _ in range(23)]
    eligible = random.random(101) < 0.7
    whole = block_topk(queries, candidates, 20, seen=_csr(seen), eligible=eligible)
    monkeypatch.setattr(kernel, "QUERY_TILE", 5)
    monkeypatch.setattr(kernel, "CANDIDATE_TILE", 7)
    tiled = block_topk(queries, candidates, 20, seen=_csr(seen), eligible=eligible)
    np.testing.assert_array_equal(whole[0], tiled[0])
    np.testing.assert_array_equal(whole[1], tiled[1])
    assert [(k >= 0).sum() for k in whole[1]] == [20] * 23


def test_a_query_alone_gets_what_it_gets_in_a_block() -> None:
    random = np.random.default_rng(1)
    queries = random.normal(size=(64, 33)).astype(np.float32)
    candidates = np.repeat(random.normal(size=(700, 33)), 3, axis=0).astype(np.float32)  # each three times
    together = block_topk(queries, candidates, 10)
    for i, query in enumerate(queries):
        values, keys = block_topk(query[None], candidates, 10)
        np.testing.assert_array_equal(values[0], together[0][i])
        np.testing.assert_array_equal(keys[0], together[1][i])
    assert (np.diff(together[1][:, :3]) == 1).all(), "equal candidates stand in the order of their positions"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k must be at least 1"),
        ({"queries": np.zeros((2, 4), dtype=np.float32)}, "two models"),
        ({"candidates": np.zeros((5, 3))}, "float64"),
        ({"seen": Seen(np.array([0, 1]), np.array([0]))}, "3 row bounds"),
        ({"seen": Seen(np.array([0, 1, 1]), np.array([5]))}, "0 to 4"),
        ({"eligible": np.ones(4, dtype=bool)}, "eligible"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, object], message: str) -> None:
    arguments = {
        "queries": np.zeros((2, 3), dtype=np.float32),
        "candidates": np.zeros((5, 3), dtype=np.float32),
        "k": 2,
        **change,
    }
    with pytest.raises(ValueError, match=message):
        block_topk(**arguments)  # type: ignore[arg-type]
