"""The exact block join against brute force in numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.similar.arrow import matrix_to_vectors
from vizrec_spark.similar.blocks import pack_blocks, unpack_matrix
from vizrec_spark.similar.exact import exact_neighbors
from vizrec_spark.similar.lists import NEIGHBORS_SCHEMA
from vizrec_spark.similar.scoring import Metric

Found = dict[str, list[tuple[str, float, float]]]


def frame(spark: SparkSession, ids: Sequence[str], matrix: np.ndarray) -> DataFrame:
    vectors = matrix_to_vectors(matrix.astype(np.float32))
    return spark.createDataFrame(pa.table({"item_id": pa.array(ids, pa.string()), "vector": vectors}))


def collected(neighbors: DataFrame) -> Found:
    """item_id to (neighbor_id, cosine, distance) in rank order; ranks must be 1, 2, 3 and so on."""
    found: Found = {}
    for row in sorted(neighbors.collect(), key=lambda row: (row.item_id, row.rank)):
        entries = found.setdefault(row.item_id, [])
        assert row.rank == len(entries) + 1
        entries.append((row.neighbor_id, row.cosine, row.distance))
    return found


def brute_force(ids: Sequence[str], matrix: np.ndarray, k: int, metric: Metric) -> Found:
    found: Found = {}
    x = matrix.astype(np.float64)
    for i, item in enumerate(ids):
        entries = []
        for j, other in enumerate(ids):
            if i != j:
                length = np.linalg.norm(x[i]) * np.linalg.norm(x[j])
                cosine = float(x[i] @ x[j] / length) if length else 0.0
                entries.append((other, cosine, float(np.linalg.norm(x[i] - x[j]))))
        # Rounded, because equal values are to tie although float64 may tell them apart in its last place.
        if metric == "cosine":
            entries.sort(key=lambda entry: (-round(entry[1], 9), entry[0]))
        else:
            entries.sort(key=lambda entry: (round(entry[2], 9), entry[0]))
        found[item] = entries[:k]
    return found


def assert_same(found: Found, wanted: Found) -> None:
    wanted = {item: entries for item, entries in wanted.items() if entries}
    assert found.keys() == wanted.keys()
    for item, entries in wanted.items():
        assert [entry[0] for entry in found[item]] == [entry[0] for entry in entries], item
        np.testing.assert_allclose(
            [entry[1:] for entry in found[item]], [entry[1:] for entry in entries], rtol=1e-5, atol=1e-5
        )


def small_integers(rows: int, dimension: int, seed: int) -> np.ndarray:
    """Vectors whose products are exact in float32, so that equal scores are equal to the last bit."""
    return np.random.default_rng(seed).integers(0, 3, (rows, dimension)).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_self_join_is_brute_force(spark: SparkSession, metric: Metric) -> None:
    matrix = np.random.default_rng(1).random((157, 24)).astype(np.float32)
    ids = [f"i{n}" for n in np.random.default_rng(2).permutation(157)]
    vectors = frame(spark, ids, matrix)
    neighbors = exact_neighbors(vectors, vectors, k=7, metric=metric, block_rows=32)
    assert neighbors.schema == NEIGHBORS_SCHEMA
    assert_same(collected(neighbors), brute_force(ids, matrix, 7, metric))


def test_ties_duplicates_zero_vectors_and_unicode_ids(spark: SparkSession) -> None:
    # Distances of small integer vectors tie everywhere and across blocks; ids sort by code point.
    matrix = small_integers(60, 3, seed=3)
    matrix[10:14] = matrix[0]
    matrix[20:22] = 0
    ids = [f"{'äz€😀'[n % 4]}{n:02d}" for n in range(58)] + ["", "ﬀ"]
    vectors = frame(spark, ids, matrix)
    found = collected(exact_neighbors(vectors, vectors, k=9, metric="euclidean", block_rows=8))
    wanted = brute_force(ids, matrix, 9, "euclidean")
    assert_same(found, wanted)
    assert any(entries[-1][2] == entries[-2][2] for entries in wanted.values())
    by_cosine = collected(exact_neighbors(vectors, vectors, k=3, block_rows=8))
    assert [entry[1] for entry in by_cosine[ids[20]]] == [0, 0, 0]  # a zero vector is near to nothing
    of_twin = by_cosine[ids[0]]
    assert [entry[1] for entry in of_twin] == [1, 1, 1]
    assert [entry[0] for entry in of_twin] == sorted(entry[0] for entry in of_twin)


def test_fewer_items_than_k(spark: SparkSession) -> None:
    matrix = small_integers(4, 5, seed=4) + np.eye(4, 5)
    vectors = frame(spark, list("dbca"), matrix)
    found = collected(exact_neighbors(vectors, vectors, k=50, block_rows=3))
    assert_same(found, brute_force(list("dbca"), matrix, 50, "cosine"))


def test_one_item_and_no_item_have_no_neighbors(spark: SparkSession) -> None:
    one = frame(spark, ["only"], np.ones((1, 4)))
    assert exact_neighbors(one, one, k=5).count() == 0
    none = one.where("item_id = 'other'")
    assert exact_neighbors(none, none, k=5).count() == 0


def test_queries_that_are_a_subset_and_a_split_base(spark: SparkSession) -> None:
    matrix = np.random.default_rng(5).random((90, 12)).astype(np.float32)
    ids = [f"i{n:02d}" for n in range(90)]
    vectors = frame(spark, ids, matrix)
    wanted = brute_force(ids, matrix, 6, "cosine")
    asked = ["i03", "i40", "i41", "i88"]
    queries = vectors.where(vectors.item_id.isin(asked))
    found = collected(exact_neighbors(queries, vectors, k=6, block_rows=16))
    assert_same(found, {item: wanted[item] for item in asked})


def test_the_same_rows_however_the_input_is_partitioned(spark: SparkSession) -> None:
    matrix = np.random.default_rng(6).random((120, 40)).astype(np.float32)
    vectors = frame(spark, [f"i{n}" for n in range(120)], matrix)
    first = set(exact_neighbors(vectors, vectors, k=5, block_rows=50).collect())
    dealt = vectors.repartition(7).orderBy("vector").repartition(3)
    assert set(exact_neighbors(dealt, dealt, k=5, block_rows=50).collect()) == first


def test_blocks_are_bounded_sorted_and_whole(spark: SparkSession) -> None:
    matrix = np.random.default_rng(7).random((53, 6)).astype(np.float32)
    ids = [f"i{n:02d}" for n in np.random.default_rng(8).permutation(53)]
    table = pack_blocks(frame(spark, ids, matrix), block_rows=20).orderBy("block").toArrow()
    assert table["block"].to_pylist() == [0, 1, 2]
    assert [len(block) for block in table["ids"].to_pylist()] == [20, 20, 13]
    assert [item for block in table["ids"].to_pylist() for item in block] == sorted(ids)
    unpacked = np.concatenate([unpack_matrix(packed, 6) for packed in table["matrix"]])
    np.testing.assert_array_equal(unpacked, matrix[np.argsort(ids)])
