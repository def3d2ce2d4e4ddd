"""python -m benchmarks.similar --n 50000: the look-alikes of a whole catalogue against exact search by others.

Timed is stage `similar` as a whole, from the Delta tables of the embeddings to those of the look-alikes, tuning and
the measurement of its own recall included; the session and one run on a small catalogue, which warms up the JVM,
come before. Peers get the vectors as one array in memory and only have to find the neighbours: faiss.IndexFlatIP,
TensorFlow's matmul with top_k, and (with --mllib) MLlib's BucketedRandomProjectionLSH. Recall is taken from the
written table, on queries that the stage has drawn neither for tuning nor for its own measurement.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.vectors import drawn_vectors
from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.embed.memory import worker_peak_bytes
from vizrec_spark.similar.footprint import index_bytes, search_bytes

_SLOWED_BY = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
_ALL_QUERIES_UP_TO = 100_000
_SAMPLED_QUERIES = 20_000
_JUDGED = 1000
_MLLIB_ITEMS, _MLLIB_DIM = 5_000, 2_048

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Run:
    """One size: seconds of the stage, of the peers (scaled up to all queries where sampled), and the recall."""

    n: int
    dim: int
    k: int
    recall: float
    recall_lo: float
    seconds: float
    ratio_vs_faiss_flat: float | None
    ratio_vs_tf_exact: float | None
    max_bucket_share: float
    ratio_vs_spark_exact: float | None
    faiss_seconds: float | None
    tf_seconds: float | None
    peer_queries: int
    method: str
    setting: str
    candidates_per_item: float
    worker_peak_bytes: int
    worker_bound_bytes: int


def build_parser() -> argparse.ArgumentParser:
    """The benchmark's command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.similar", description=__doc__)
    parser.add_argument(
        "--n", type=int, action="append", help="items; may be given several times (default 20000)"
    )
    parser.add_argument("--dim", type=int, default=1280, help="components of a vector")
    parser.add_argument("--k", type=int, default=50, help="look-alikes an item")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--method", default="auto", help="similar.method of the stage")
    parser.add_argument(
        "--features", type=Path, help=".npy of real features (n × dim) in place of drawn vectors"
    )
    parser.add_argument("--peers", choices=("all", "faiss", "tf", "none"), default="all")
    parser.add_argument(
        "--peer-queries", type=int, help=f"queries of the peers (default: all up to {_ALL_QUERIES_UP_TO:,})"
    )
    parser.add_argument("--spark-exact", action="store_true", help="run the stage with method exact as well")
    parser.add_argument(
        "--mllib", action="store_true", help="run MLlib's LSH join at 5,000 × 2,048 (some minutes)"
    )
    parser.add_argument("--work", type=Path, help="folder for tables and vectors (default: a temporary one)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the benchmark, prints the table and the line RESULT."""
    args = build_parser().parse_args(argv)
    if any(name in os.environ for name in _SLOWED_BY):  # for all sides alike, and so for Spark's workers too
        kept = {name: value for name, value in os.environ.items() if name not in _SLOWED_BY}
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.similar", *(argv or sys.argv[1:])], kept)
    work = Path(tempfile.mkdtemp(prefix="vizrec-bench-", dir=args.work))
    try:
        _measure(args, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


def _measure(args: argparse.Namespace, work: Path) -> None:
    bench = _Bench(work, args)
    bench.warm_up()
    runs = [bench.run(n) for n in args.n or [20_000]]
    result: dict[str, object] = {"runs": [asdict(run) for run in runs]}
    result["ratio_vs_mllib_lsh"] = bench.against_mllib() if args.mllib else None
    result["growth_exponent"] = growth_exponent({run.n: run.seconds for run in runs})
    head = ("n", "seconds", "recall", "lo", "x faiss", "x tf", "x exact", "bucket", "setting")
    print(" ".join(f"{name:>8}" for name in head))
    for run in runs:
        ratios = (run.ratio_vs_faiss_flat, run.ratio_vs_tf_exact, run.ratio_vs_spark_exact)
        told = " ".join(f"{ratio:8.1f}" if ratio is not None else f"{'-':>8}" for ratio in ratios)
        print(
            f"{run.n:8d} {run.seconds:8.1f} {run.recall:8.3f} {run.recall_lo:8.3f} {told} "
            f"{run.max_bucket_share:8.4f} {run.method}: {run.setting}"
        )
    print("RESULT " + json.dumps(result))


def growth_exponent(seconds: Mapping[int, float]) -> float | None:
    """The power of n by which `seconds` (by n) grow: from 50,000 to 400,000 where both are there, else from the least n
    to the largest; None for a single one."""
    first, last = (50_000, 400_000) if {50_000, 400_000} <= seconds.keys() else (min(seconds), max(seconds))
    if first == last:
        return None
    return math.log(seconds[last] / seconds[first]) / math.log(last / first)


class _Bench:
    """One session and one place for tables, for all sizes."""

    def __init__(self, work: Path, args: argparse.Namespace) -> None:
        from vizrec_spark.session import build_session

        self.work, self.args = work, args
        self.spark = build_session(
            "vizrec benchmark similar",
            {
                "spark.master": "local[*]",
                "spark.driver.memory": "4g",
                "spark.sql.shuffle.partitions": "4",
                "spark.databricks.delta.snapshotPartitions": "1",
                "spark.ui.enabled": "false",
                "spark.local.dir": str(work / "local"),
            },
        )

    def warm_up(self) -> None:
        """A small catalogue, by every kind of join."""
        vectors = drawn_vectors(2000, 64, seed=1)
        self._write(vectors, "warm")
        self._stage("warm", "cells")
        # The interpreter, its libraries, and what Arrow and the allocator keep.
        self.idle = worker_peak_bytes(self.spark)

    def run(self, n: int) -> Run:
        """One size."""
        args = self.args
        vectors = np.load(args.features)[:n] if args.features else drawn_vectors(n, args.dim, seed=args.seed)
        n, dim = vectors.shape
        self._write(vectors, f"n{n}")
        seconds, quality = self._stage(f"n{n}", args.method)
        peak, bound = worker_peak_bytes(self.spark), self._bound(n, dim, quality)
        print(f"largest worker {peak / 2**20:,.0f} MiB, by formula at most {bound / 2**20:,.0f} MiB")
        units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        del vectors
        asked = args.peer_queries or (n if n <= _ALL_QUERIES_UP_TO else _SAMPLED_QUERIES)
        drawn = np.random.default_rng(args.seed + 1000).choice(n, min(asked, n), replace=False)
        faiss_seconds = tf_seconds = None
        if args.peers in ("all", "faiss"):
            faiss_seconds = _faiss(units, units[drawn], args.k) * n / len(drawn)
        if args.peers in ("all", "tf"):
            tf_seconds = _tensorflow(units, units[drawn], args.k) * n / len(drawn)
        recall = self._recall(units, f"n{n}", self._unseen(n))
        # After the recall was taken: this run replaces the lists.
        exact_seconds = self._stage(f"n{n}", "exact")[0] if args.spark_exact else None
        shutil.rmtree(self.work / f"n{n}", ignore_errors=True)
        return Run(
            n=n,
            dim=dim,
            k=args.k,
            recall=recall.mean,
            recall_lo=recall.lo,
            seconds=seconds,
            ratio_vs_faiss_flat=faiss_seconds and faiss_seconds / seconds,
            ratio_vs_tf_exact=tf_seconds and tf_seconds / seconds,
            max_bucket_share=quality["max_bucket_share"],
            ratio_vs_spark_exact=exact_seconds and exact_seconds / seconds,
            faiss_seconds=faiss_seconds,
            tf_seconds=tf_seconds,
            peer_queries=len(drawn),
            method=quality["method"],
            setting=quality["setting"],
            candidates_per_item=quality["candidates_per_item"],
            worker_peak_bytes=peak,
            worker_bound_bytes=bound,
        )

    def against_mllib(self) -> float:
        """MLlib's LSH join over ours, at a size that it can finish: pairs within the 50th neighbours' distance."""
        from pyspark.ml.feature import BucketedRandomProjectionLSH
        from pyspark.ml.functions import array_to_vector
        from pyspark.sql import functions as F

        vectors = drawn_vectors(_MLLIB_ITEMS, _MLLIB_DIM, seed=self.args.seed)
        units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        self._write(vectors, "mllib")
        ours, quality = self._stage("mllib", "auto")
        similarity = np.sort(units[:200] @ units.T, axis=1)[:, -self.args.k - 1]
        threshold = float(np.median(np.sqrt(2 - 2 * similarity)))
        arrays = self.spark.createDataFrame(_rows(units)).withColumn("features", array_to_vector("vector"))
        frame = arrays.select("item_id", "features").cache()
        frame.count()
        lsh = BucketedRandomProjectionLSH(
            inputCol="features", outputCol="hashes", bucketLength=threshold, numHashTables=3, seed=1
        )
        began = time.perf_counter()
        model = lsh.fit(frame)
        pairs = model.approxSimilarityJoin(frame, frame, threshold).where(
            F.col("datasetA.item_id") < F.col("datasetB.item_id")
        )
        found = pairs.count()
        theirs = time.perf_counter() - began
        there = sum(
            int((units[at : at + 500] @ units.T >= 1 - threshold**2 / 2).sum())
            for at in range(0, len(units), 500)
        )
        there = (there - len(units)) // 2  # each pair once, and nobody with itself
        print(
            f"MLlib: {found:,} of {there:,} pairs within {threshold:.3f} (recall {found / max(there, 1):.3f}) in "
            f"{theirs:.1f} s, stage similar {ours:.1f} s (recall {quality['recall']:.3f}, by {quality['method']})"
        )
        return theirs / ours

    def _stage(self, name: str, method: str) -> tuple[float, dict]:
        from vizrec_spark.config import Config
        from vizrec_spark.similar.stage import STAGE
        from vizrec_spark.stage import StageContext
        from vizrec_spark.tables import Stamp, TableStore
        from vizrec_spark.tables.schemas import SIMILARITY_QUALITY

        config = Config.model_validate(
            {
                "tables": {"root": str(self.work / name / "tables")},
                "similar": {
                    "method": method,
                    "k": self.args.k,
                    "shared_dir": str(self.work),
                    "incremental_below": 0,
                },
            }
        )
        store = TableStore(self.spark, config.tables, Stamp("bench", "similar", ""))
        context = StageContext(self.spark, config, store, "bench")
        began = time.perf_counter()
        STAGE.run(context)
        seconds = time.perf_counter() - began
        quality = store.read(SIMILARITY_QUALITY).collect()[0].asDict()
        print(
            f"{name}: stage similar ({method}) {seconds:.1f} s, {quality['method']}: {quality['setting']}",
            flush=True,
        )
        return seconds, quality

    def _write(self, vectors: Vectors, name: str) -> None:
        """The tables that the stage reads, as stages `ingest` and `embed` would leave them; not timed."""
        from pyspark.sql import functions as F

        from vizrec_spark.config import Config
        from vizrec_spark.tables import Stamp, TableStore
        from vizrec_spark.tables.encoders import encoder_key
        from vizrec_spark.tables.schemas import EMBEDDINGS, ENCODERS, IMAGES

        config = Config.model_validate({"tables": {"root": str(self.work / name / "tables")}})
        store = TableStore(self.spark, config.tables, Stamp("bench", "embed", ""))
        file = self.work / f"{name}.npy"
        np.save(file, vectors)
        parts, n = max(4, len(vectors) // 25_000), len(vectors)

        def rows(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            matrix = np.load(file, mmap_mode="r")
            for batch in batches:
                part = batch.column(0)[0].as_py()
                for start in range(n * part // parts, n * (part + 1) // parts, 4096):
                    stop = min(start + 4096, n * (part + 1) // parts)
                    yield from _rows(matrix[start:stop], start).to_batches()

        made = self.spark.range(0, parts, 1, parts).mapInArrow(rows, "item_id string, vector array<float>")
        sha256 = F.sha2("item_id", 256)
        store.overwrite(
            EMBEDDINGS, made.select(sha256.alias("sha256"), F.lit("e").alias("encoder_id"), "vector")
        )
        pictures = self.spark.range(n).select(F.format_string("item-%08d", "id").alias("item_id"))
        store.overwrite(
            IMAGES,
            pictures.select(
                "item_id",
                F.concat("item_id", F.lit(".jpg")).alias("path"),
                sha256.alias("sha256"),
                F.lit(1).alias("width"),
                F.lit(1).alias("height"),
                F.lit("JPEG").alias("format"),
                F.lit(1).cast("long").alias("bytes"),
                F.timestamp_seconds(F.lit(0)).alias("modified"),
                F.lit(b"-").alias("content"),
            ),
        )
        key = encoder_key(config.embed)
        store.overwrite(ENCODERS, self.spark.createDataFrame([(key, "e", vectors.shape[1])], ENCODERS.schema))
        file.unlink()

    def _bound(self, n: int, dim: int, quality: dict) -> int:
        """The memory of a worker by formula: one at rest, the pages of the mapped files, and the search."""
        config = SimilarConfig(k=self.args.k)
        width = min(config.dimensions, dim)
        cells, probed = (
            quality["n_buckets"],
            int(quality["candidates_per_item"] / n * quality["n_buckets"]) + 1,
        )
        if counted := re.match(r"(\d+) of ([\d,]+) cells", quality["setting"]):
            probed, cells = int(counted[1]), int(counted[2].replace(",", ""))
        largest = (
            min(n, max(int(quality["max_bucket_share"] * n), 1)) if quality["method"] != "flat" else 8192
        )
        search = search_bytes(
            queries=4096, dimension=dim, width=width, cells=cells, probed=probed,
            rerank=quality["n_reranked"], largest=largest, k=config.k,
        )  # fmt: skip
        index = index_bytes(n_items=n, dimension=dim, width=width, cells=cells, tables=1)
        return self.idle + 4 * n * (dim + width + 1) + index + search

    def _unseen(self, n: int) -> NDArray[np.int64]:
        """Items that the stage neither tunes nor judges on at its default settings; row numbers are in order of id."""
        from pyspark.sql import functions as F

        from vizrec_spark.similar.sampling import TURNS, draw_samples

        named = self.spark.range(0, n, 1, 1).select(F.format_string("item-%08d", "id").alias("item_id"))
        hashes = named.select(F.xxhash64("item_id").alias("hash")).toArrow().column("hash").to_numpy()
        samples = draw_samples(hashes, SimilarConfig(k=self.args.k))
        judged = np.concatenate([samples.judging(turn) for turn in range(TURNS)])
        others = np.setdiff1d(samples.others, judged)
        others = others if len(others) else samples.others  # of so few items all are judged on
        return np.random.default_rng(n).choice(others, min(_JUDGED, len(others)), replace=False)

    def _recall(self, units: Vectors, name: str, queries: NDArray[np.int64]):
        from pyspark.sql import functions as F

        from vizrec_spark.similar.quality import recall_interval

        k = self.args.k
        scores = units[queries] @ units.T
        scores[np.arange(len(queries)), queries] = -2
        bars = np.partition(scores, -k, axis=1)[:, -k] - 2e-6
        found = self.spark.read.format("delta").load(str(self.work / name / "tables" / "item_neighbors"))
        number, near = (F.substring(name, 6, 8).cast("int") for name in ("item_id", "neighbor_id"))
        # Scores of its own, so that a list is not taken at its word, and a neighbour counts once.
        listed = found.where(number.isin(queries.tolist())).select(number.alias("n"), near.alias("near"))
        table = listed.where("n != near").distinct().toPandas()
        row_of = {int(query): row for row, query in enumerate(queries)}
        rows = table["n"].map(row_of).to_numpy()
        hits = np.bincount(rows[scores[rows, table["near"].to_numpy()] >= bars[rows]], minlength=len(queries))
        return recall_interval(np.minimum(hits, k) / k)


def _rows(matrix: Vectors, first: int = 0) -> pa.Table:
    from vizrec_spark.similar.arrow import matrix_to_vectors

    ids = [f"item-{number:08d}" for number in range(first, first + len(matrix))]
    return pa.table({"item_id": ids, "vector": matrix_to_vectors(np.asarray(matrix))})


def _timed(search: Callable[[], object]) -> float:
    began = time.perf_counter()
    search()
    return time.perf_counter() - began


def _faiss(base: Vectors, queries: Vectors, k: int) -> float:
    import faiss

    def search() -> None:
        index = faiss.IndexFlatIP(base.shape[1])
        index.add(base)
        for start in range(0, len(queries), 4096):
            index.search(queries[start : start + 4096], k + 1)

    seconds = _timed(search)
    print(
        f"faiss.IndexFlatIP, {len(queries):,} queries: {seconds:.1f} s, faiss {faiss.__version__}, "
        f"{faiss.omp_get_max_threads()} threads, compiled for {faiss.get_compile_options().strip() or 'generic'}",
        flush=True,
    )
    return seconds


def _tensorflow(base: Vectors, queries: Vectors, k: int) -> float:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    rows = 1024
    whole = tf.constant(base)

    @tf.function(reduce_retracing=True)
    def nearest(block: tf.Tensor) -> tf.Tensor:
        return tf.math.top_k(tf.matmul(block, whole, transpose_b=True), k + 1)

    nearest(tf.constant(queries[:8]))

    def search() -> None:
        for start in range(0, len(queries), rows):
            nearest(tf.constant(queries[start : start + rows]))[1].numpy()

    seconds = _timed(search)
    print(f"TensorFlow matmul + top_k, {len(queries):,} queries: {seconds:.1f} s", flush=True)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
