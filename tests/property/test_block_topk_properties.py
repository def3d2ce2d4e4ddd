"""Block top-k of inner products against a full sort in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
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


def test_more_equal_candidates_than_a_shortlist_holds_fall_by_position() -> None:
    """300 copies of the best candidate, spread over the tiles: rounding differs with the tile, the answer must not."""
    random = np.random.default_rng(3)
    queries = random.normal(size=(65, 33)).astype(np.float32)
    candidates = random.normal(size=(9000, 33)).astype(np.float32) / 8
    copies = np.sort(random.choice(9000, 300, replace=False))
    candidates[copies] = queries.mean(axis=0) + queries[0]
    seen = [copies[:5].tolist()] * 65
    together = block_topk(queries, candidates, 10, seen=_csr(seen))
    for i, query in enumerate(queries):
        alone = block_topk(query[None], candidates, 10, seen=_csr(seen[:1]))
        np.testing.assert_array_equal(alone[0][0], together[0][i])
        np.testing.assert_array_equal(alone[1][0], together[1][i])
    np.testing.assert_array_equal(together[1][0], copies[5:15])


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 40))
def test_rounding_decides_nothing(seed: int, k: int) -> None:
    """Scores that float32 cannot tell apart, and one candidate so long that its rounding drowns all others."""
    random = np.random.default_rng(seed)
    queries = random.normal(size=(3, 5)).astype(np.float32)
    candidates = (1 + 1e-7 * random.integers(0, 3, (900, 5))).astype(np.float32)
    candidates[random.integers(0, 900)] *= random.choice([1, 1e6])
    values, keys = block_topk(queries, candidates, k)
    exact = np.stack([candidates.astype(float) @ query.astype(float) for query in queries])
    np.testing.assert_allclose(values, -np.sort(-exact, axis=1)[:, :k], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(values, np.take_along_axis(exact, keys, axis=1), rtol=1e-12, atol=1e-12)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), k=st.sampled_from([1, 7, 60, 300]))
def test_it_is_the_head_of_a_full_sort_among_many(seed: int, k: int) -> None:
    """More candidates than a shortlist and than a tile hold; the worst order, ascending scores, too."""
    random = np.random.default_rng(seed)
    queries = random.integers(-3, 4, (4, 3)).astype(np.float32)
    candidates = random.integers(-40, 41, (random.integers(700, 9000), 3)).astype(np.float32)
    if seed % 2:
        candidates = candidates[np.argsort(candidates @ queries[0])]
    values, keys = block_topk(queries, candidates, k)
    exact = queries.astype(float) @ candidates.T.astype(float)
    order = np.argsort(-exact, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(keys, order)
    np.testing.assert_array_equal(values, np.take_along_axis(exact, order, axis=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k must be at least 1"),
        ({"queries": np.zeros((2, 4), dtype=np.float32)}, "two models"),
        ({"candidates": np.zeros((5, 3))}, "float64"),
        ({"seen": Seen(np.array([0, 1]), np.array([0]))}, "3 row bounds"),
        ({"seen": Seen(np.array([0, 1, 1]), np.array([5]))}, "0 to 4"),
        ({"eligible": np.ones(4, dtype=bool)}, "eligible"),
        ({"queries": np.full((2, 3), np.nan, dtype=np.float32)}, "finite"),
        ({"candidates": np.full((5, 3), np.inf, dtype=np.float32)}, "finite"),
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
