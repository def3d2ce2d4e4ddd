"""ALS against MLlib's defaults, and top-k against MLlib's and implicit's, on a generated shop.

    python -m benchmarks.als [--users 20000 --items 10000 --events 1000000 --times 10 --rank 64 --k 50]

The fit is compared at the given size. Lists of the k best for all users are compared at that size and at `--times` as
many users and events; the larger model has the same item factors and the factors that folding in gives its users.
Ours leave out what each user has seen and carry the shop's own ids; MLlib's do neither, implicit's only the first.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table

from vizrec_spark.als.loss import Sample, loss
from vizrec_spark.als.train import chosen_blocks, linear_algebra, train_als
from vizrec_spark.config.models import AlsConfig
from vizrec_spark.demo import generate_catalogue, generate_events, generate_shoppers
from vizrec_spark.retrieval import share_factors, top_k
from vizrec_spark.retrieval.fold_in import fold_in
from vizrec_spark.retrieval.preferences import preferences
from vizrec_spark.session import build_session

WEIGHTS = {"view": 1.0, "cart": 3.0, "buy": 5.0}


def main(argv: list[str] | None = None) -> None:
    """Runs everything and prints the table and the result."""
    args = _parser().parse_args(argv)
    _with_the_machines_own_blas()
    with tempfile.TemporaryDirectory(prefix="vizrec-als-") as folder:
        spark = _session(Path(folder))
        try:
            _run(args, spark, Path(folder))
        finally:
            spark.stop()


def _with_the_machines_own_blas() -> None:
    """Starts again without settings that slow numpy's BLAS for all sides; a BLAS reads them when it is loaded.

    One thread a process: implicit and Spark's tasks spread over the cores themselves.
    """
    slowed = {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"} & set(os.environ)
    if slowed or os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        kept = {name: value for name, value in os.environ.items() if name not in slowed}
        again = [sys.executable, "-m", "benchmarks.als", *sys.argv[1:]]
        os.execve(sys.executable, again, {**kept, "OPENBLAS_NUM_THREADS": "1"})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.als", description=__doc__)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--repeat", type=int, default=2)
    return parser


def _session(folder: Path) -> SparkSession:
    spark = build_session(
        "benchmarks.als",
        {
            "spark.master": "local[*]",
            "spark.driver.memory": "6g",
            "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": "4",
            "spark.local.dir": str(folder / "local"),
        },
    )
    spark.sparkContext.setCheckpointDir(str(folder / "checkpoints"))
    return spark


class Shop:
    """A generated shop's preferences: Spark frames under the shop's ids and under ints, and flat arrays."""

    def __init__(self, spark: SparkSession, folder: Path, users: int, items: int, events: int) -> None:
        catalogue = generate_catalogue(items)
        log = generate_events(events, generate_shoppers(users, catalogue), catalogue)
        log["weight"] = log["event"].map(WEIGHTS)
        log["timestamp"] = pd.to_datetime(log["timestamp"], unit="s").astype("datetime64[us]")
        log["rating"] = np.nan
        place = str(folder / f"events-{users}.parquet")
        log.to_parquet(place)
        interactions = spark.read.parquet(place).withColumn("rating", F.lit(None).cast("double"))
        self.frame = preferences(interactions, AlsConfig()).persist()
        flat = self.frame.orderBy("user_id", "item_id").toPandas()
        user, names = pd.factorize(flat["user_id"], sort=True)
        item, titles = pd.factorize(flat["item_id"], sort=True)
        self.arrays = Sample(
            list(names),
            list(titles),
            user.astype(np.int64),
            item.astype(np.int64),
            flat["preference"].to_numpy(),
        )

    def numbered(self, folder: Path) -> DataFrame:
        """`user`, `item` (int), `preference` (float): what MLlib takes."""
        sample, place = self.arrays, str(folder / f"numbered-{len(self.arrays.users)}.parquet")
        pd.DataFrame(
            {
                "user": sample.user.astype(np.int32),
                "item": sample.item.astype(np.int32),
                "preference": sample.value.astype(np.float32),
            }
        ).to_parquet(place)
        return self.frame.sparkSession.read.parquet(place).repartition(4).persist()


def _run(args: argparse.Namespace, spark: SparkSession, folder: Path) -> None:
    shop = Shop(spark, folder, args.users, args.items, args.events)
    numbered = shop.numbered(folder)
    n = numbered.count()
    config = AlsConfig(rank=args.rank, iterations=args.iterations, blocks=chosen_blocks(n))

    def default_fit() -> ALSModel:
        model = ALS(
            userCol="user",
            itemCol="item",
            ratingCol="preference",
            rank=config.rank,
            maxIter=config.iterations,
            regParam=config.regularization,
            alpha=config.alpha,
            implicitPrefs=True,
            seed=config.seed,
        ).fit(numbered)
        model.userFactors.count()
        return model

    def own_fit() -> ALSModel:
        model = train_als(numbered, config).model
        model.userFactors.count()
        return model

    train_als(
        numbered, config.model_copy(update={"iterations": 1})
    ).model.userFactors.count()  # warms the JVM
    default_seconds, default_model = _best("fit, MLlib", default_fit, args.repeat)
    own_seconds, model = _best("fit, ours", own_fit, args.repeat)
    losses = {
        name: _loss(made, shop.arrays, config) for name, made in (("mllib", default_model), ("own", model))
    }

    small = _lists(args, spark, folder, shop, model)
    large: dict[str, float] = {}
    size = (args.users, args.events)
    if args.times > 1:
        size = (args.users * args.times, args.events * args.times)
        numbered.unpersist()
        items = _under_names(model.itemFactors, shop.arrays.items, "item_id").persist()
        shop.frame.unpersist()
        shop = Shop(spark, folder, size[0], args.items, size[1])
        large = _large(args, spark, folder, shop, items, config)
    _print(args, spark, config, n, (default_seconds, own_seconds), losses, small, large)


def _best(name: str, body: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    """Seconds of the fastest of `repeat` runs, and what the last gave; told as they come."""
    seconds = []
    made = None
    for _ in range(repeat):
        began = time.perf_counter()
        made = body()
        seconds.append(time.perf_counter() - began)
        print(f"{name}: {seconds[-1]:.2f} s", file=sys.stderr, flush=True)
    return min(seconds), made


def _factors(frame: DataFrame, n: int) -> np.ndarray:
    rows = frame.toPandas()
    matrix = np.zeros((n, len(rows["features"].iloc[0])), dtype=np.float32)
    matrix[rows["id"].to_numpy()] = np.stack(rows["features"].to_numpy())
    return matrix


def _loss(model: ALSModel, sample: Sample, config: AlsConfig) -> float:
    x = _factors(model.userFactors, len(sample.users))
    return loss(x, _factors(model.itemFactors, len(sample.items)), sample, config)


def _under_names(factors: DataFrame, names: list[str], column: str) -> DataFrame:
    spark = factors.sparkSession
    ids = spark.createDataFrame(pd.DataFrame({"id": np.arange(len(names), dtype=np.int32), column: names}))
    return factors.join(ids.withColumn("id", F.col("id").cast("int")), "id").select(
        column, F.col("features").cast("array<float>").alias("factors")
    )


def _large(
    args: argparse.Namespace,
    spark: SparkSession,
    folder: Path,
    shop: Shop,
    items: DataFrame,
    config: AlsConfig,
) -> dict[str, float]:
    """As `_lists`, on a model whose users are folded in; with their number a second."""
    shared = share_factors(items)
    place = str(folder / "folded")
    seconds, _ = _best(
        "fold-in", lambda: fold_in(shop.frame, shared, config).write.mode("overwrite").parquet(place), 1
    )
    folded = spark.read.parquet(place)
    sample = shop.arrays
    both = {"user": (folded, "user_id", sample.users), "item": (items, "item_id", sample.items)}
    # MLlib reads a model of its own format: its metadata, and factors by id.
    pattern = ALSModel.load(str(folder / "model"))
    saved = folder / "model-large"
    pattern.write().overwrite().save(str(saved))
    for kind, (frame, column, names) in both.items():
        ids = spark.createDataFrame(
            pd.DataFrame({"id": np.arange(len(names), dtype=np.int32), column: names})
        ).withColumn("id", F.col("id").cast("int"))
        features = frame.join(ids, column).select("id", F.col("factors").alias("features"))
        features.write.mode("overwrite").parquet(str(saved / f"{kind}Factors"))
    found = _lists(args, spark, folder, shop, ALSModel.load(str(saved)), repeat=1)
    return {**found, "foldin_users_per_s": folded.count() / seconds}


def _lists(
    args: argparse.Namespace, spark: SparkSession, folder: Path, shop: Shop, model: ALSModel, repeat: int = 2
) -> dict[str, float]:
    """Seconds of each side for the k best of all users, the overlap with a full sort, and the workers' memory."""
    from implicit.cpu.als import AlternatingLeastSquares

    if not (folder / "model").exists():
        model.write().save(str(folder / "model"))
    sample = shop.arrays
    x, y = _factors(model.userFactors, len(sample.users)), _factors(model.itemFactors, len(sample.items))
    users = _under_names(model.userFactors, sample.users, "user_id").persist()
    items = _under_names(model.itemFactors, sample.items, "item_id").persist()
    users.count(), items.count()
    met = shop.frame.select("user_id", "item_id")

    def own() -> None:
        _drain(top_k(users, share_factors(items), args.k, seen=met))

    with _peak_of_workers() as peak:
        own_seconds, _ = _best("top-k, ours", own, repeat)
    mllib_seconds, _ = _best("top-k, MLlib", lambda: _drain(model.recommendForAllUsers(args.k)), repeat)
    rows = scipy.sparse.csr_matrix(
        (sample.value.astype(np.float32), (sample.user, sample.item)), shape=(len(x), len(y))
    )
    peer = AlternatingLeastSquares(factors=args.rank)
    peer.user_factors, peer.item_factors = x, y
    implicit_seconds, _ = _best(
        "top-k, implicit",
        lambda: peer.recommend(np.arange(len(x)), rows, N=args.k, filter_already_liked_items=True),
        repeat,
    )

    def from_tables() -> None:
        """The same rows out of the same tables: what implicit's arrays cost on their way in and out of them."""
        pairs = met.toPandas()
        user, item = (
            pd.Index(sample.users).get_indexer(pairs["user_id"]),
            pd.Index(sample.items).get_indexer(pairs["item_id"]),
        )
        seen = scipy.sparse.csr_matrix(
            (np.ones(len(pairs), dtype=np.float32), (user, item)), (len(x), len(y))
        )
        ids, scores = peer.recommend(np.arange(len(x)), seen, N=args.k, filter_already_liked_items=True)
        pd.DataFrame(
            {
                "user_id": np.repeat(np.array(sample.users, dtype=object), ids.shape[1]),
                "rank": np.tile(np.arange(1, ids.shape[1] + 1, dtype=np.int32), len(ids)),
                "item_id": np.array(sample.items, dtype=object)[ids.ravel()],
                "score": scores.ravel().astype(np.float64),
            }
        )

    tables_seconds, _ = _best("top-k, implicit from tables", from_tables, 1)
    asked = sample.users[:: max(1, len(sample.users) // 400)]
    some = spark.createDataFrame([(name,) for name in asked], "user_id string").join(users, "user_id")
    overlap = _overlap(top_k(some, share_factors(items), args.k, seen=met), asked, sample, x, y, args.k)
    for frame in (users, items):
        frame.unpersist()
    return {
        "own": own_seconds,
        "mllib": mllib_seconds,
        "implicit": implicit_seconds,
        "implicit_from_tables": tables_seconds,
        "overlap": overlap,
        "peak_mb": max(peak, default=0.0),
        "users": len(x),
    }


def _drain(frame: DataFrame) -> None:
    frame.write.format("noop").mode("overwrite").save()


def _overlap(
    lists: DataFrame, asked: list[str], sample: Sample, x: np.ndarray, y: np.ndarray, k: int
) -> float:
    """Share of the places of the exact lists (every score in float64, a full sort, the seen left out) that hold the
    same item; a user who was asked and got no list has none of them."""
    row = {name: i for i, name in enumerate(sample.users)}
    bounds = np.searchsorted(sample.user, np.arange(len(x) + 1))
    ranked = lists.toPandas().sort_values(["user_id", "rank"]).groupby("user_id")["item_id"].agg(list)
    hits = total = 0
    for name in asked:
        # einsum sums each row in the same order, whatever stands beside it.
        scores = np.einsum("nr,r->n", y.astype(np.float64), x[row[name]].astype(np.float64))
        scores[sample.item[bounds[row[name]] : bounds[row[name] + 1]]] = -np.inf
        exact = [sample.items[i] for i in np.argsort(-scores, kind="stable")[:k] if scores[i] > -np.inf]
        hits += sum(one == other for one, other in zip(exact, ranked.get(name, []), strict=False))
        total += len(exact)
    return hits / total


@contextmanager
def _peak_of_workers() -> Iterator[list[float]]:
    """The largest resident set of a Python worker of this process's Spark, in MB, looked at ten times a second."""
    peaks: list[float] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            peaks.extend(_resident_below(os.getpid(), b"pyspark.daemon"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peaks
    finally:
        stop.set()
        watcher.join()


def _resident_below(process: int, command: bytes) -> list[float]:
    """MB of each descendant of a process whose command line holds `command`."""
    parents, sizes = {}, {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text, own = status.read_text(), int(status.parent.name)
            parents[own] = int(text.split("PPid:")[1].split()[0])
            if command in (status.parent / "cmdline").read_bytes():
                sizes[own] = int(text.split("VmRSS:")[1].split()[0]) / 1024
        except (OSError, IndexError):  # it has just ended
            continue

    def descends(at: int) -> bool:
        while at in parents:
            at = parents[at]
            if at == process:
                return True
        return False

    return [size for own, size in sizes.items() if descends(own)]


def _print(
    args: argparse.Namespace,
    spark: SparkSession,
    config: AlsConfig,
    n: int,
    fits: tuple[float, float],
    losses: dict[str, float],
    small: dict[str, float],
    large: dict[str, float],
) -> None:
    table = Table(
        title=f"ALS, rank {args.rank}, {spark.sparkContext.defaultParallelism} cores", title_justify="left"
    )
    for name in ("work", "ours", "MLlib", "implicit"):
        table.add_column(name, justify="left" if name == "work" else "right")
    table.add_row(
        f"fit, {args.users:,} users, {args.items:,} items, {n:,} preferences, {args.iterations} iterations",
        f"{fits[1]:.2f} s ({config.blocks} blocks)",
        f"{fits[0]:.2f} s (10 blocks)",
        "",
    )
    table.add_row("loss by preference", f"{losses['own']:.5f}", f"{losses['mllib']:.5f}", "")
    for found in (small, large):
        if found:
            table.add_row(
                f"top-{args.k} of {args.items:,} for {found['users']:,} users",
                f"{found['own']:.2f} s",
                f"{found['mllib']:.2f} s",
                f"{found['implicit']:.2f} s",
            )
            table.add_row("  out of the same tables", "", "", f"{found['implicit_from_tables']:.2f} s")
            table.add_row("  overlap with a full sort", f"{found['overlap']:.4f}", "", "")
            table.add_row("  largest Python worker", f"{found['peak_mb']:.0f} MB", "", "")
    at = large or small
    Console(width=140).print(table)
    print(
        f"linear algebra of MLlib: {linear_algebra(spark)}; ours leaves out what was seen and has the shop's ids"
    )
    result = {
        "fit_ratio_vs_mllib_default": fits[0] / fits[1],
        "loss_ratio_vs_mllib_default": losses["own"] / losses["mllib"],
        "topk_ratio_vs_mllib": at["mllib"] / at["own"],
        "topk_ratio_vs_implicit": at["implicit"] / at["own"],
        "topk_ratio_vs_implicit_from_tables": at["implicit_from_tables"] / at["own"],
        "topk_ratio_vs_mllib_small": small["mllib"] / small["own"],
        "topk_ratio_vs_implicit_small": small["implicit"] / small["own"],
        "topk_overlap": min(found["overlap"] for found in (small, large) if found),
        "foldin_users_per_s": at.get("foldin_users_per_s"),
        "peak_mb": at["peak_mb"],
        "peak_mb_small": small["peak_mb"],
        "users": small["users"],
        "users_large": at["users"],
        "items": args.items,
        "rank": args.rank,
        "blocks": config.blocks,
    }
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()}
    print("RESULT " + json.dumps(rounded))


if __name__ == "__main__":
    main()
