"""Stage `similar` and its plans in Spark: equal results, recall, updates, filters, search by vectors."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from vizrec_spark.config.models import Config, SimilarConfig
from vizrec_spark.config.models.similar import FiltersConfig
from vizrec_spark.errors import ConfigError, InputError, RecallError, TableError
from vizrec_spark.similar import stage
from vizrec_spark.similar.arrow import matrix_to_vectors
from vizrec_spark.similar.ask import nearest_items
from vizrec_spark.similar.centre import Centre, collect_centre
from vizrec_spark.similar.fit import indexed
from vizrec_spark.similar.sampling import draw_ids, drawing, mixed
from vizrec_spark.similar.scoring import Metric
from vizrec_spark.similar.shared import over_rows, part_of
from vizrec_spark.stage import StageContext, StageResult
from vizrec_spark.tables import Stamp, Table, TableStore
from vizrec_spark.tables.encoders import encoder_key
from vizrec_spark.tables.schemas import (
    CATEGORY_NEIGHBORS,
    COMPARED_ITEMS,
    EMBEDDINGS,
    ENCODERS,
    IMAGES,
    ITEM_NEIGHBORS,
    ITEMS,
    NEAR_DUPLICATES,
    SIMILARITY_QUALITY,
)

N, D = 900, 96
Rows = set[tuple[str, int, str]]


def nested(rows: int = N, seed: int = 0) -> np.ndarray:
    """Non-negative vectors with a shared mean and a falling spectrum, each near an earlier one."""
    generator = np.random.default_rng(seed)
    latent = generator.standard_normal((rows, D))
    for row in range(20, rows):
        step = generator.uniform(0.3, 0.7)
        latent[row] = np.sqrt(1 - step**2) * latent[generator.integers(row)] + step * latent[row]
    return np.maximum(0.4 * latent * (np.arange(D) + 1.0) ** -0.5 + 1.5, 0).astype(np.float32)


def names(rows: int) -> list[str]:
    return [f"i{number:04d}" for number in range(rows)]


def frame(spark: SparkSession, matrix: np.ndarray) -> DataFrame:
    return spark.createDataFrame(
        pa.table({"item_id": names(len(matrix)), "vector": matrix_to_vectors(matrix)})
    )


def listed(neighbors: DataFrame) -> Rows:
    return {(row.item_id, row.rank, row.neighbor_id) for row in neighbors.collect()}


def near(matrix: np.ndarray, k: int, metric: Metric = "cosine") -> Rows:
    """The k nearest of each row, by brute force."""
    rows = matrix.astype(np.float64)
    if metric == "cosine":
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    distance = np.square(rows).sum(axis=1) - 2 * rows @ rows.T  # less each row's own square
    np.fill_diagonal(distance, np.inf)
    best = np.argsort(distance, axis=1, kind="stable")[:, :k]
    ids = names(len(matrix))
    return {(ids[i], place + 1, ids[j]) for i, row in enumerate(best) for place, j in enumerate(row)}


def by_item(lists: Rows) -> list[list[tuple[str, int, str]]]:
    return [list(rows) for _, rows in groupby(sorted(lists), key=lambda row: row[0])]


def pairs(lists: Rows) -> set[tuple[str, str]]:
    return {(item, other) for item, _, other in lists}


@pytest.fixture(scope="module")
def vectors(spark: SparkSession) -> DataFrame:
    return frame(spark, nested()).repartition(3).cache()


def test_both_plans_draw_the_same_items(spark: SparkSession, vectors: DataFrame) -> None:
    rows = vectors.select("item_id", F.xxhash64("item_id").alias("hash"), drawing(7), drawing(-(2**40)))
    table = rows.toArrow()
    for seed, column in ((7, 2), (-(2**40), 3)):
        np.testing.assert_array_equal(mixed(table["hash"].to_numpy(), seed), table.column(column).to_numpy())
    drawn = draw_ids(vectors, 5, 7).collect()
    first = np.argsort(table.column(2).to_numpy())[:5]
    assert [row.item_id for row in drawn] == [table["item_id"][int(at)].as_py() for at in first]


def test_python_workers_are_kept_from_task_to_task(spark: SparkSession) -> None:
    def told(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pydict(
            {"part": pa.array([part_of(batches)]), "pid": pa.array([os.getpid()])}
        )

    rows = over_rows(spark, 12, told, StructType().add("part", "long").add("pid", "long")).collect()
    assert sorted(row.part for row in rows) == list(range(12))
    # As many as run at a time, of which the first to come may be older and come to their end; not one a task.
    assert len({row.pid for row in rows}) <= 4


def test_centre_is_the_mean_of_unit_vectors(vectors: DataFrame) -> None:
    matrix = nested().astype(np.float64)
    units = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    centre = collect_centre(vectors)
    np.testing.assert_allclose(centre.mean, units.mean(axis=0), atol=1e-6)
    others = (units @ units.T)[~np.eye(N, dtype=bool)]
    assert centre.random_pair_cosine == pytest.approx(max(0.0, float(others.mean())), abs=1e-5)
    assert Centre(np.array([0.8, 0.0], dtype=np.float32), 2).random_pair_cosine == 0.0
    with pytest.raises(InputError, match="got none"):
        collect_centre(vectors.where("false"))


def test_search_by_vectors(
    spark: SparkSession, vectors: DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.model_validate({"similar": {"method": "cells", "k": 5, "target_recall": 0.9}}).similar
    path = indexed(vectors, tmp_path, config)
    asked = nested()[:3]
    queries = spark.createDataFrame(
        pa.table({"query_id": ["x", "y", "z"], "vector": matrix_to_vectors(asked)})
    )
    rows = nearest_items(queries, path, k=4).collect()
    assert {(r.query_id, r.neighbor_id) for r in rows if r.rank == 1} == {
        ("x", "i0000"), ("y", "i0001"), ("z", "i0002"),
    }  # fmt: skip
    assert all(r.cosine == 1 for r in rows if r.rank == 1) and len(rows) == 12
    with pytest.raises(InputError, match="at most 5, for which the index was tuned, got 6"):
        nearest_items(queries, path, k=6)
    short = queries.select("query_id", F.slice("vector", 1, 5).alias("vector"))
    with pytest.raises(Exception, match="query vectors of length 96, got 5"):
        nearest_items(short, path, k=4).collect()
    # Another index in the same folder leaves the first one's files alone.
    other = indexed(vectors.where("item_id < 'i0100'"), tmp_path, config)
    found = nearest_items(queries, other, k=1).collect()
    assert {row.neighbor_id for row in found} == {"i0000", "i0001", "i0002"}
    assert sorted(nearest_items(queries, path, k=4).collect()) == sorted(rows)
    blind = config.model_copy(update={"probes": 1, "target_recall": 0.99})
    with pytest.raises(RecallError, match=r"target_recall is 0\.99"):
        indexed(vectors, tmp_path, blind)
    # Executors elsewhere would write into files of their own, or lose each other's pages.
    monkeypatch.setattr(spark.sparkContext, "master", "spark://host:7077")
    with pytest.raises(ConfigError, match=r"local\[\.\.\.\], got spark://host:7077"):
        indexed(vectors, tmp_path, config)


class Shop:
    """Tables below a folder, and the stage run on them."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder = spark, folder
        self.store = TableStore(spark, self.config().tables, Stamp("run", "similar", ""))
        key = encoder_key(self.config().embed)
        self.store.overwrite(ENCODERS, spark.createDataFrame([(key, "e1", D)], ENCODERS.schema))

    def config(self, **similar: Any) -> Config:
        return Config.model_validate({"tables": {"root": str(self.folder)}, "similar": similar})

    def pictures(self, matrix: np.ndarray, content: list[bytes] | None = None) -> None:
        """Item i0000 and on, each with one picture whose vector is a row; content may repeat."""
        hashes = [hashlib.sha256(row.tobytes()).hexdigest() for row in matrix]
        table = pa.table(
            {
                "item_id": pa.array(names(len(matrix)), pa.string()),
                "sha256": pa.array(hashes, pa.string()),
                "vector": matrix_to_vectors(matrix),
                "content": pa.array(content or [b"-"] * len(matrix), pa.binary()),
            }
        )
        made = self.spark.createDataFrame(table)
        vectors = made.select("sha256", F.lit("e1").alias("encoder_id"), "vector").dropDuplicates(["sha256"])
        self.store.overwrite(EMBEDDINGS, vectors)
        facts = {"width": 1, "height": 1, "format": "PNG"}
        self.store.overwrite(
            IMAGES,
            made.select(
                "item_id",
                F.col("item_id").alias("path"),
                "sha256",
                *(F.lit(value).alias(name) for name, value in facts.items()),
                F.lit(1).cast("long").alias("bytes"),
                F.timestamp_seconds(F.lit(0)).alias("modified"),
                "content",
            ),
        )

    def items(self, kinds: list[str], prices: list[float]) -> None:
        rows = [
            (name, None, [kind] if kind else [], price, None, {})
            for name, kind, price in zip(names(len(kinds)), kinds, prices, strict=True)
        ]
        self.store.overwrite(ITEMS, self.spark.createDataFrame(rows, ITEMS.schema))

    def run(self, **similar: Any) -> StageResult:
        return stage.STAGE.run(StageContext(self.spark, self.config(**similar), self.store, "run"))

    def rows(self, table: Table) -> list[Any]:
        return self.store.read(table).collect()

    def lists(self) -> Rows:
        return listed(self.store.read(ITEM_NEIGHBORS))

    def require_looks(self, matrix: np.ndarray) -> None:
        """On as many directions as vectors have, looks say of any two items what the centred unit vectors say."""
        units = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
        units -= units.mean(axis=0)
        looks = np.array([row.looks for row in sorted(self.rows(COMPARED_ITEMS))])
        np.testing.assert_allclose(looks @ looks.T, units @ units.T, atol=1e-4)


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(spark, tmp_path_factory.mktemp("similar") / "tables")


def test_an_older_table_is_refused_before_anything_is_written(spark: SparkSession, tmp_path: Path) -> None:
    shop = Shop(spark, tmp_path)
    other = TableStore(spark, shop.config().tables, Stamp("run", "similar", ""))
    other.ensure(replace(SIMILARITY_QUALITY, version=1))
    with pytest.raises(TableError, match=r"similarity_quality .* follows contract version 1"):
        shop.run()
    assert other.version(ITEM_NEIGHBORS) == 0  # made, not written to


def test_auto_reaches_the_target_says_so_and_mends_lists_below_it(shop: Shop) -> None:
    matrix = nested()
    shop.pictures(matrix)
    settings = {"k": 8, "dimensions": 24, "exact_below": 100, "incremental_below": 0.5, "recall_queries": 200}
    exact = near(matrix, 8)
    shop.run(**settings)
    first, quality = shop.lists(), shop.rows(SIMILARITY_QUALITY)[0]
    assert quality.method == "cells" and quality.plan == "shared" and quality.recall >= 0.95
    assert quality.n_queries == 200 and 0.93 < len(pairs(first) & pairs(exact)) / len(exact) < 1
    assert quality.max_bucket_share <= 64 / N and quality.candidates_per_item < N
    assert sum(quality.bucket_histogram) == quality.n_buckets
    shop.require_looks(matrix)
    # An update of lists that have lost their ends would stay below the target: all are searched for, alike.
    shop.store.delete(ITEM_NEIGHBORS, F.col("rank") > 4)
    shop.run(**settings)
    assert shop.lists() == first and shop.rows(SIMILARITY_QUALITY)[0].n_searched == N
    with pytest.raises(RecallError, match=r"target_recall is 0\.95"):
        shop.run(**settings, method="cells", probes=1)
    assert shop.lists() == first


@pytest.mark.parametrize(
    ("metric", "setting"),
    [
        ("cosine", {"method": "cells", "cells": 8, "filters": {"same": ("get(categories, 0)",)}}),
        ("euclidean", {"method": "lsh", "tables": 6, "bits": 2}),
    ],
)
def test_both_plans_publish_the_same_lists(shop: Shop, metric: Metric, setting: dict[str, Any]) -> None:
    matrix = nested()
    # One placeholder picture for every ninth item, far from all others.
    matrix[4::9] = np.roll(matrix[4], 3) * 0.5
    shop.pictures(matrix)
    shop.items([f"kind{n // 7 % 2}" for n in range(N)], [1.0] * N)
    ids, scores, told = [], [], []
    for plan in ("shared", "partitioned"):
        # All would be tuned on, so that nobody were left to judge on; and lists that stand would be left as they are.
        shop.run(
            plan=plan,
            incremental_below=0,
            k=8,
            metric=metric,
            target_recall=0.9,
            tuning_queries=1000,
            **setting,
        )
        rows = [row for row in shop.rows(ITEM_NEIGHBORS) if int(row.item_id[1:]) % 9 != 4]
        ids.append({(row.item_id, row.rank, row.neighbor_id) for row in rows})
        # Which of 99 equal neighbours an item gets is anyone's guess.
        scores.append(sorted((r.item_id, r.rank, round(r.cosine, 5)) for r in shop.rows(ITEM_NEIGHBORS)))
        told.append(shop.rows(SIMILARITY_QUALITY)[0].asDict())
    assert ids[0] == ids[1] and len(ids[0]) > 7 * 800 and scores[0] == scores[1]
    assert [row.pop("plan") for row in told] == ["shared", "partitioned"]
    # One in 3,200 neighbours may be as near as the eighth by one order of summation and not by the other.
    for name, value in told[0].items():
        same = pytest.approx(value, abs=1e-3) if isinstance(value, float) else value
        assert told[1][name] == same, name
    assert told[0]["n_split_buckets"] > 2 and told[0]["max_bucket_share"] <= 64 / N
    assert 0.9 <= told[0]["recall"] < 1 and told[0]["n_queries"] == 400
    # One that is met in two tables counts as two.
    assert told[0]["candidates_per_item"] < N * setting.get("tables", 1)


def test_a_method_that_misses_its_recall_gives_way_under_the_partitioned_plan(
    shop: Shop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vizrec_spark.similar.looks.SAMPLE", 100)  # of which directions are learned
    matrix = nested(400)
    shop.pictures(matrix)
    blind = {"exact_below": 100, "probes": 1, "tables": 1, "bits": 4}
    with caplog.at_level("INFO", logger="vizrec"):
        shop.run(k=8, plan="partitioned", filters={"min_cosine": 0.9988}, **blind)
    tried = [record.getMessage() for record in caplog.records if "recall@8" in record.getMessage()]
    assert len(tried) == 2 and "cells" in "".join(tried) and "lsh" in "".join(tried)
    quality, rows = shop.rows(SIMILARITY_QUALITY)[0], shop.rows(ITEM_NEIGHBORS)
    assert (quality.method, quality.recall, quality.n_queries) == ("exact", 1, 0)
    assert 0.9988 <= min(row.cosine for row in rows) < 0.9991 and len(rows) < 8 * 400
    assert listed(shop.store.read(ITEM_NEIGHBORS)) <= near(matrix, 8)
    shop.require_looks(matrix)


def test_an_update_is_the_full_run_without_the_full_search(shop: Shop) -> None:
    settings = {"k": 6, "method": "exact", "incremental_below": 0.5}
    matrix = nested(300) - np.float32(1.45)  # apart enough that rounding changes no rank
    shop.pictures(matrix[:290])
    shop.run(**settings)
    changed = matrix.copy()
    changed[7] = matrix[100] + 0.01
    shop.pictures(changed)
    told = shop.run(**settings)
    quality = shop.rows(SIMILARITY_QUALITY)[0]
    assert 11 <= quality.n_searched < 150 and "asked for anew" in told.notes[1]
    assert quality.recall == 1 and quality.n_queries == 150
    assert shop.lists() == near(changed, 6)
    # Pictures that change a little leave most lists as long as they were: those are not asked for.
    changed[20:240:20] += 0.0001
    lost = sum(any(int(o[1:]) in range(20, 240, 20) for _, _, o in rows) for rows in by_item(shop.lists()))
    shop.pictures(changed)
    shop.run(**settings)
    assert shop.rows(SIMILARITY_QUALITY)[0].n_searched < lost / 2
    assert shop.lists() == near(changed, 6)
    shop.pictures(changed[:280])
    shop.run(**settings)
    assert shop.lists() == near(changed[:280], 6) and shop.rows(SIMILARITY_QUALITY)[0].n_searched < 150

    # Nor are rows that somebody has taken away missed in an update.
    shop.store.delete(ITEM_NEIGHBORS, F.expr("item_id < 'i0003' AND rank > 4"))
    changed[30] += 0.01
    shop.pictures(changed[:280])
    shop.run(**settings)
    assert shop.lists() == near(changed[:280], 6)

    # What another method has found is not taken for exact.
    quality = shop.store.read(SIMILARITY_QUALITY).withColumn("method", F.lit("cells")).toArrow()
    shop.store.overwrite(SIMILARITY_QUALITY, shop.spark.createDataFrame(quality))
    shop.store.delete(ITEM_NEIGHBORS, F.col("rank") > 4)
    shop.run(**settings)
    assert shop.lists() == near(changed[:280], 6)


def test_an_update_of_approximate_lists_has_their_recall(shop: Shop) -> None:
    settings = {
        "k": 6,
        "method": "cells",
        "metric": "euclidean",
        "incremental_below": 0.5,
        "target_recall": 0.9,
    }
    matrix = nested(600, seed=5)
    shop.pictures(matrix[:590])
    shop.run(**settings)
    changed = matrix.copy()
    changed[3] = matrix[400] + 0.01
    shop.pictures(changed)
    shop.run(**settings)
    quality = shop.rows(SIMILARITY_QUALITY)[0]
    assert quality.method == "cells" and 11 <= quality.n_searched < 300
    true, lists = pairs(near(changed, 6, "euclidean")), shop.lists()
    assert 0.9 < len(pairs(lists) & true) / len(true) < 1 and len(lists) == 6 * 600


@pytest.mark.parametrize("plan", ["shared", "partitioned"])
def test_few_items_and_equal_ones(spark: SparkSession, tmp_path: Path, plan: str) -> None:
    shop = Shop(spark, tmp_path)
    matrix = nested(30)
    matrix[2:20] = matrix[2]
    matrix[25] = 0
    shop.pictures(matrix)
    with pytest.raises(TableError, match=r"items does not exist .*run stage `ingest` first"):
        shop.run(plan=plan, filters={"where": "price < 1"})
    shop.run(plan=plan, method="cells", k=40, target_recall=0.9)
    by = by_item(shop.lists())
    assert len(by) == 30 and all(len({other for _, _, other in rows}) == len(rows) >= 27 for rows in by)
    for left in (2, 1) if plan == "shared" else ():
        shop.pictures(matrix[:left])
        told = shop.run(plan=plan, k=40)
        assert {item for item, _, _ in shop.lists()} == set(names(left) if left > 1 else [])
        again = shop.run(plan=plan, k=40)
        assert "its look-alikes stand" in again.notes[0] and told.metrics["searched"] == left
        assert again.metrics == {**told.metrics, "searched": 0.0} and again.metrics["recall"] == 1
    if plan == "shared":
        shop.store.delete(EMBEDDINGS, F.lit(True))
        gone = shop.run(plan=plan, k=40)
        assert "nothing to compare" in gone.notes[0] and gone.metrics == {"searched": 0.0}


def test_filters_categories_and_excluded_pairs(shop: Shop, spark: SparkSession, tmp_path: Path) -> None:
    matrix = nested(200) - np.float32(1.45)  # apart enough that rounding changes no rank
    kinds, prices = [f"kind{n % 2}" for n in range(200)], [10.0 + n % 50 for n in range(200)]
    kinds[150] = kinds[151] = "rare"  # in hardly anyone's nearest
    kinds[199] = ""  # in no category
    shop.pictures(matrix)
    shop.items(kinds, prices)
    units = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    order = np.argsort(-(units @ units.T), axis=1)
    excluded = tmp_path / "pairs"
    first = next(m for m in order[0].tolist() if m != 0 and kinds[m] == kinds[0])
    rows = [("i0000", names(200)[first])]
    spark.createDataFrame(rows, "item_id string, neighbor_id string").write.parquet(str(excluded))
    filters = {
        "same": ("get(categories, 0)",),
        "where": "price < 55",
        "price_band": 0.5,
        "exclude": str(excluded),
    }
    shop.run(method="exact", k=5, filters=filters, per_category=2)
    found = shop.lists()
    for item in (0, 1, 77, 198):
        allowed = [
            m
            for m in order[item].tolist()
            if m != item
            and kinds[m] == kinds[item]
            and prices[m] < 55
            and prices[item] * 0.5 <= prices[m] <= prices[item] * 1.5
            and not (item == 0 and m == first)
        ]
        got = [name for _, _, name in sorted(row for row in found if row[0] == names(200)[item])]
        assert got == [names(200)[m] for m in allowed[:5]]
    shop.run(method="exact", k=5, filters=filters, plan="partitioned")
    assert shop.lists() == found and shop.rows(SIMILARITY_QUALITY)[0].plan == "partitioned"
    with pytest.raises(ConfigError, match=r"similar\.filters"):
        shop.run(method="exact", filters={"where": "colour = 1"})
    fail = [("shared", {"same": ("categories[0]",)}), ("partitioned", {"where": "categories[0] = 'rare'"})]
    for plan, fails in fail:
        with pytest.raises(ConfigError, match=r"similar\.filters.*INVALID_ARRAY_INDEX"):
            shop.run(method="exact", filters=fails, plan=plan)
    nobody = {"plan": "partitioned", "method": "lsh", "k": 5, "filters": {"where": "price > 1000"}}
    shop.run(**nobody)
    assert shop.lists() == set()
    shop.run(method="exact", k=5, per_category=2)
    listed_by = shop.store.read(CATEGORY_NEIGHBORS).where("item_id = 'i0001'").collect()
    assert {row.category for row in listed_by} <= set(kinds) - {""}
    for kind in set(kinds) - {""}:
        nearest = [m for m in order[1].tolist() if m != 1 and kinds[m] == kind][:2]
        got = [r.neighbor_id for r in sorted(listed_by, key=lambda r: r.rank) if r.category == kind]
        assert got == [names(200)[m] for m in nearest]
    assert (
        shop.store.read(CATEGORY_NEIGHBORS).count() == 200 * 3 * 2 - 2
    )  # the two rare ones have one another


def test_near_duplicates_are_alike_to_the_encoder_and_in_pixels(shop: Shop) -> None:
    def picture(seed: int, quality: int = 90) -> bytes:
        cells = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), np.uint8)
        image = Image.fromarray(cells).resize((96, 96), Image.Resampling.BICUBIC)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return file.getvalue()

    matrix = nested(40, seed=3) * np.linspace(1, 2, 40, dtype=np.float32)[:, None]
    matrix[5], matrix[6], matrix[9] = matrix[2] * 1.01, matrix[2] * 0.99, matrix[30] * 1.01
    # 5 and 6 are 2 recompressed; 9 only has the vector of 30; 20 only has the picture of 21.
    seeds = {5: 2, 6: 2, 20: 21}
    shop.pictures(matrix, [picture(seeds.get(n, n), 60 + n) for n in range(40)])
    shop.run(method="exact", k=5, near_duplicates={"cosine": 0.9999})
    assert {(r.item_id, r.group_id, r.group_size) for r in shop.rows(NEAR_DUPLICATES)} == {
        ("i0002", "i0002", 3), ("i0005", "i0002", 3), ("i0006", "i0002", 3),
    }  # fmt: skip
    # The last item gone, nothing of it stays in any table.
    shop.pictures(matrix[:0])
    shop.run(method="exact", k=5, near_duplicates={"cosine": 0.9999})
    for table in stage.WRITTEN:
        assert shop.rows(table) == []


def test_lists_by_distance_that_are_cut_by_cosines_are_numbered_anew(spark: SparkSession) -> None:
    schema = "item_id string, rank int, neighbor_id string, cosine float"
    rows = [
        ("a", 1, "x", 0.5),
        ("a", 2, "y", 0.9),
        ("a", 3, "z", 0.8),
        ("b", 1, "x", 0.95),
        ("b", 2, "z", 0.1),
    ]
    cut = FiltersConfig(min_cosine=0.7)
    for metric, left in (
        ("euclidean", {("a", 1, "y"), ("a", 2, "z"), ("b", 1, "x")}),
        ("cosine", {("a", 2, "y"), ("a", 3, "z"), ("b", 1, "x")}),
    ):
        kept = stage._near_enough(
            spark.createDataFrame(rows, schema), SimilarConfig(metric=metric, filters=cut)
        )
        assert {(row.item_id, row["rank"], row.neighbor_id) for row in kept.collect()} == left
