"""LSH neighbours against the exact ones, and what keeps the buckets in bounds."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vizrec_spark.errors import InputError
from vizrec_spark.similar.approximate import lsh_neighbors
from vizrec_spark.similar.arrow import matrix_to_vectors
from vizrec_spark.similar.buckets import assign_buckets, bucket_statistics
from vizrec_spark.similar.centre import Centre, collect_centre
from vizrec_spark.similar.exact import exact_neighbors
from vizrec_spark.similar.lists import NEIGHBORS_SCHEMA
from vizrec_spark.similar.lsh import LshParams, choose_params
from vizrec_spark.similar.quality import centred_cosines, recall_at_k, recall_interval, sample_queries
from vizrec_spark.similar.scoring import Metric

ITEMS = 900


def clustered() -> np.ndarray:
    """Non-negative vectors in 30 clusters that share a large mean, as pooled ReLU features do."""
    generator = np.random.default_rng(0)
    clusters = generator.standard_normal((30, 32))
    points = clusters[generator.integers(30, size=ITEMS)] + 0.45 * generator.standard_normal((ITEMS, 32))
    return np.maximum(0.3 * points + 2.0, 0).astype(np.float32)


@pytest.fixture(scope="module")
def vectors(spark: SparkSession) -> DataFrame:
    table = {"item_id": [f"i{n:04d}" for n in range(ITEMS)], "vector": matrix_to_vectors(clustered())}
    return spark.createDataFrame(pa.table(table))


@pytest.fixture(scope="module")
def centre(vectors: DataFrame) -> Centre:
    return collect_centre(vectors)


def statistics(vectors: DataFrame, params: LshParams, centre: Centre) -> dict[str, float]:
    return bucket_statistics(assign_buckets(vectors, params, centre), params).collect()[0].asDict()


def test_centre_is_the_mean_of_unit_vectors(vectors: DataFrame, centre: Centre) -> None:
    matrix = clustered().astype(np.float64)
    units = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    np.testing.assert_allclose(centre.mean, units.mean(axis=0), atol=1e-6)
    assert centre.n_items == ITEMS
    assert centre.mean_cosine == pytest.approx(float((units @ units.T).mean()), abs=1e-5)
    others = (units @ units.T)[~np.eye(ITEMS, dtype=bool)]
    assert centre.random_pair_cosine == pytest.approx(max(0.0, float(others.mean())), abs=1e-5)
    assert Centre(np.array([0.8, 0.0], dtype=np.float32), 2).random_pair_cosine == 0.0
    with pytest.raises(InputError, match="got none"):
        collect_centre(vectors.where("false"))


def test_recall_reaches_the_target_that_params_were_chosen_for(vectors: DataFrame, centre: Centre) -> None:
    exact = exact_neighbors(vectors, vectors, k=10, block_rows=500).cache()
    tuning = sample_queries(vectors, 40, seed=5).select("item_id")
    sample = centred_cosines(exact.join(tuning, "item_id"), vectors, centre)
    params = choose_params(
        ITEMS,
        target_recall=0.9,
        bits=4,
        neighbor_cosines=[row.centred_cosine for row in sample.collect()],
        seed=1,
    )
    neighbors = lsh_neighbors(vectors, params, centre, k=10)
    assert neighbors.schema == NEIGHBORS_SCHEMA
    others = exact.join(tuning, "item_id", "left_anti")
    recall = recall_interval([row.recall for row in recall_at_k(neighbors, others).collect()])
    exact.unpersist()
    assert recall.n_queries == ITEMS - 40
    assert recall.mean >= 0.9
    # Not by comparing all with all.
    assert statistics(vectors, params, centre)["max_bucket_share"] < 0.5


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_one_bucket_for_all_is_the_exact_join(vectors: DataFrame, metric: Metric) -> None:
    # A plane that everything lies on one side of: the far-off mean puts all into one bucket, twice.
    few = vectors.limit(200)
    off = Centre(np.full(32, -100.0, dtype=np.float32), 200)
    everything = lsh_neighbors(few, LshParams(2, 1), off, k=5, metric=metric)
    exact = exact_neighbors(few, few, k=5, metric=metric, block_rows=64)
    found = {(r.item_id, r.rank): r for r in everything.collect()}
    wanted = {(r.item_id, r.rank): r for r in exact.collect()}
    assert found.keys() == wanted.keys() and len(wanted) == 1000
    assert np.mean([found[key].neighbor_id == wanted[key].neighbor_id for key in wanted]) > 0.99
    for value in ("cosine", "distance"):
        np.testing.assert_allclose(
            [found[key][value] for key in wanted], [wanted[key][value] for key in wanted], atol=1e-4
        )


def test_without_centring_one_bucket_gets_nearly_everything(vectors: DataFrame, centre: Centre) -> None:
    params = LshParams(tables=4, bits=5, seed=2)
    raw = statistics(vectors, params, Centre(np.zeros_like(centre.mean), ITEMS))
    centred = statistics(vectors, params, centre)
    assert raw["max_bucket_share"] > 0.6
    assert centred["max_bucket_share"] < 0.25
    assert raw["max_bucket_share"] > 3 * centred["max_bucket_share"]


def test_split_buckets_are_counted_and_bounded(vectors: DataFrame, centre: Centre) -> None:
    params = LshParams(tables=3, bits=2, seed=4, bucket_cap=50)
    assigned = assign_buckets(vectors, params, centre)
    buckets = assigned.groupBy("table", "bucket").count().collect()
    assert sum(row["count"] for row in buckets) == 3 * ITEMS  # nothing is lost
    crowded = [row["count"] for row in buckets if row["count"] > 50]
    told = statistics(vectors, params, centre)
    assert told["n_split_buckets"] == len(crowded) > 0
    assert told["max_bucket_share"] == pytest.approx(max(crowded) / ITEMS)
    assert told["max_part_share"] <= 50 / ITEMS
    # No more can be compared with an item than cap - 1 others a table, and the rest of the pairs is told.
    assert 20 < told["candidates_per_item"] <= 3 * 49
    pairs = sum(row["count"] * (row["count"] - 1) / 2 for row in buckets)
    assert told["n_cut_pairs"] == pytest.approx(pairs - told["candidates_per_item"] * ITEMS / 2, abs=1)
    # What is scored is within those bounds too: with room for all, lists end where the parts do.
    longest = lsh_neighbors(vectors, params, centre, k=500).groupBy("item_id").count()
    assert longest.agg(F.max("count")).collect()[0][0] <= 3 * 49


def test_the_same_rows_in_every_run_and_partitioning(vectors: DataFrame, centre: Centre) -> None:
    params = LshParams(tables=4, bits=3, seed=9, bucket_cap=60)
    first = set(lsh_neighbors(vectors, params, centre, k=4).collect())
    dealt = vectors.repartition(5).sortWithinPartitions("vector")
    assert set(lsh_neighbors(dealt, params, collect_centre(dealt), k=4).collect()) == first
    other_seed = lsh_neighbors(vectors, LshParams(4, 3, seed=10, bucket_cap=60), centre, k=4)
    assert set(other_seed.collect()) != first


def test_duplicates_and_zero_vectors(spark: SparkSession) -> None:
    matrix = np.vstack([np.tile(np.array([1.0, 2.0, 3.0]), (4, 1)), np.zeros((2, 3)), -np.eye(3)])
    table = {"item_id": list("dcbaxyefg"), "vector": matrix_to_vectors(matrix.astype(np.float32))}
    vectors = spark.createDataFrame(pa.table(table))
    params, centre = LshParams(8, 3, seed=1), collect_centre(vectors)
    rows = lsh_neighbors(vectors, params, centre, k=3).collect()
    of_b = [(r.rank, r.neighbor_id, r.cosine, r.distance) for r in rows if r.item_id == "b"]
    assert sorted(of_b) == [(1, "a", 1, 0), (2, "c", 1, 0), (3, "d", 1, 0)]
    of_x = [r for r in rows if r.item_id == "x"]
    assert of_x and all(r.cosine == 0 for r in of_x)  # a zero vector is near to nothing
    assert all(r.item_id != r.neighbor_id for r in rows)
    by_distance = lsh_neighbors(vectors, params, centre, k=3, metric="euclidean").collect()
    assert [(r.neighbor_id, r.distance) for r in by_distance if r.item_id == "x" and r.rank == 1] == [
        ("y", 0)
    ]


def test_recall_counts_what_is_found_and_forgives_ties(spark: SparkSession) -> None:
    schema = NEIGHBORS_SCHEMA
    exact = spark.createDataFrame(
        [("q", 1, "a", 0.9, 0.1), ("q", 2, "b", 0.8, 0.2), ("r", 1, "a", 0.7, 1.0), ("s", 1, "a", 0.5, 1.0)],
        schema,
    )
    approximate = spark.createDataFrame(
        [("q", 1, "c", 0.8, 0.2), ("q", 2, "d", 0.7, 0.3), ("r", 1, "a", 0.7, 1.0), ("z", 1, "a", 1.0, 0.0)],
        schema,
    )
    # q: c is as near as the last exact one, d is not; s has no row at all; z was not asked.
    metrics: tuple[Metric, ...] = ("cosine", "euclidean")
    for metric in metrics:
        found = {r.item_id: r.recall for r in recall_at_k(approximate, exact, metric=metric).collect()}
        assert found == {"q": 0.5, "r": 1.0, "s": 0.0}


def test_centred_cosines_are_those_of_the_centred_vectors(vectors: DataFrame, centre: Centre) -> None:
    few = sample_queries(vectors, 20, seed=0).cache()
    exact = exact_neighbors(few, vectors, k=3)
    matrix = clustered().astype(np.float64)
    units = matrix / np.linalg.norm(matrix, axis=1, keepdims=True) - centre.mean
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    rows = centred_cosines(exact, vectors, centre).collect()
    few.unpersist()
    assert len(rows) == 60
    for row in rows:
        wanted = units[int(row.item_id[1:])] @ units[int(row.neighbor_id[1:])]
        assert math.isclose(row.centred_cosine, wanted, abs_tol=1e-4)


def test_the_query_sample_is_fixed_by_its_seed(vectors: DataFrame) -> None:
    def ids(frame: DataFrame, seed: int) -> list[str]:
        return sorted(row.item_id for row in sample_queries(frame, 30, seed=seed).collect())

    assert ids(vectors, 1) == ids(vectors.repartition(6), 1) != ids(vectors, 2)
    assert len(set(ids(vectors, 1))) == 30
