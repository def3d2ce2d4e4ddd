"""Block scores against numpy in float64, and the Arrow plumbing around them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from vizrec_spark.errors import InputError
from vizrec_spark.kernels.topk import PAD_KEY
from vizrec_spark.similar.arrow import matrix_to_vectors, vectors_to_matrix
from vizrec_spark.similar.lists import group_starts, whole_groups
from vizrec_spark.similar.scoring import Metric, checked_squares, nearest_in_block


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_nearest_in_block_against_float64(metric: Metric) -> None:
    generator = np.random.default_rng(0)
    queries = generator.random((700, 33), dtype=np.float32)  # more than one strip
    base = generator.random((90, 33), dtype=np.float32)
    queries[3], base[5] = 0, 0
    base[7] = queries[0]
    same = np.full(700, -1)
    same[1] = 11
    found = nearest_in_block(queries, base, 6, metric, same)
    a, b = queries.astype(np.float64), base.astype(np.float64)
    distance = np.linalg.norm(a[:, None] - b[None], axis=2)
    lengths = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)[None]
    cosine = np.divide(a @ b.T, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    score = cosine.copy() if metric == "cosine" else -distance
    score[1, 11] = -np.inf
    best = np.sort(score, axis=1)[:, ::-1][:, :6]
    np.testing.assert_allclose(found.score(metric), best, atol=2e-3 if metric == "euclidean" else 2e-6)
    rows = np.arange(700)[:, None]
    np.testing.assert_allclose(found.cosine, cosine[rows, found.keys], atol=2e-6)
    np.testing.assert_allclose(found.distance, distance[rows, found.keys], atol=2e-3)
    assert 11 not in found.keys[1]
    assert found.keys[0, 0] == 7 and found.cosine[0, 0] == 1 and found.distance[0, 0] == 0


def test_nothing_to_compare_with_gives_padding() -> None:
    found = nearest_in_block(
        np.ones((2, 3), np.float32), np.zeros((0, 3), np.float32), 4, "cosine", np.full(2, -1)
    )
    assert found.keys.shape == (2, 4) and (found.keys == PAD_KEY).all()
    alone = np.ones((1, 3), np.float32)
    assert (nearest_in_block(alone, alone, 4, "cosine", np.zeros(1, np.int64)).keys == PAD_KEY).all()


def test_vectors_come_back_as_they_went() -> None:
    matrix = np.random.default_rng(0).random((6, 4), dtype=np.float32)
    vectors = matrix_to_vectors(matrix)
    np.testing.assert_array_equal(vectors_to_matrix(vectors), matrix)
    np.testing.assert_array_equal(vectors_to_matrix(vectors.slice(2, 3)), matrix[2:5])


@pytest.mark.parametrize(
    ("vectors", "told"),
    [
        ([[1.0, 2.0], [3.0]], "one length"),
        ([[1.0, 2.0], [3.0], [4.0, 5.0, 6.0]], "one length"),
        ([[1.0], None], "one length"),
        ([[1.0], [None]], "one length"),
        ([[1.0], [float("nan")]], "finite"),
        ([[1.0], [float("inf")]], "finite"),
    ],
)
def test_vectors_that_are_no_matrix_are_refused(vectors: list[object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        vectors_to_matrix(pa.array(vectors, pa.list_(pa.float32())))


def test_vectors_too_long_to_be_squared_are_refused() -> None:
    matrix = np.array([[3, 4], [2e19, 0]], np.float32)
    np.testing.assert_array_equal(checked_squares(matrix[:1]), [25])
    with pytest.raises(InputError, match=r"1\.8e19"), np.errstate(over="ignore"):
        checked_squares(matrix)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_groups_survive_any_cut_of_the_stream(size: int) -> None:
    keys = [0, 0, 0, 1, 2, 2, 2, 2, 2, 3]
    whole = pa.RecordBatch.from_pydict({"key": keys, "row": list(range(10))})
    cut = [whole.slice(at, size) for at in range(0, 10, size)]
    batches = list(whole_groups(iter([*cut, whole.slice(0, 0)]), ["key"]))
    assert pa.Table.from_batches(batches).to_pydict() == whole.to_pydict()
    seen = [set(batch["key"].to_pylist()) for batch in batches]
    assert sum(map(len, seen)) == 4  # no key stands in two batches
    assert group_starts(whole, ["key"]).tolist() == [0, 3, 4, 9]
