"""The whole of scoring against the bare block top-k, on a generated shop.

    python -m benchmarks.recommend [--users 20000 --items 10000 --events 600000 --rank 64 --k 20]

The peer multiplies users with items and keeps the k best (`retrieval.top_k`). Ours does that too, leaves out what was
seen, proposes from all other sources, describes every candidate, blends, re-ranks with diversity, near-duplicate groups
and a cap by category, and names what each part owes to which past item. Both write to Spark's `noop`, and start

- from rows of users with factors and history (`ratio`): the peer takes the factors alone and leaves out nothing,
- from factors and pairs of users and items, as jobs do (`pairs_ratio`): both leave out what was seen.

Then both kernels are compared in one process, on one thread, with what was seen left out (`kernel_ratio`). The bar is 3
for `pairs_ratio`, where both do the same work from what a job has; the exit code is 1 where it is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table

from vizrec_spark.config.models import AlsConfig, RecommendConfig, RerankConfig, SimilarConfig
from vizrec_spark.demo import VectorSpace, generate_catalogue, generate_events, generate_shoppers
from vizrec_spark.demo.vocabulary import COLOURS, KIND_NAMES, KINDS, PATTERNS
from vizrec_spark.kernels.block_topk import Seen, block_topk
from vizrec_spark.recommend.assemble import Settings, co_consumption, counts_of, fixed_side, item_side
from vizrec_spark.recommend.attributes import attribute_block, category_block
from vizrec_spark.recommend.blend import Blend
from vizrec_spark.recommend.content import Content, factors_from_content
from vizrec_spark.recommend.hybrid import Inputs, recommend_with
from vizrec_spark.recommend.items import Entries, ItemSide, strength
from vizrec_spark.recommend.log import Log, rows_of
from vizrec_spark.recommend.score import recommend_block, score_users
from vizrec_spark.recommend.sources import FEATURES
from vizrec_spark.recommend.users import Users, gather_users
from vizrec_spark.recommend.window_als import window_als
from vizrec_spark.retrieval import share_factors, top_k
from vizrec_spark.session import build_session

_WEIGHTS = {"view": 1.0, "cart": 3.0, "buy": 5.0}
_LOOK_ALIKES = 50
_PER_GROUP = 10  # items of which two are near-duplicates
BAR = 3.0


def main(argv: list[str] | None = None) -> int:
    """Runs everything and prints the table and the result; the exit code."""
    args = _parser().parse_args(argv)
    _with_the_machines_own_blas()
    config = RecommendConfig(
        k=args.k, rerank=RerankConfig(diversity=0.2, max_per_category=max(args.k // 2, 1), exploration=0.05)
    )
    als = AlsConfig(rank=args.rank, iterations=args.iterations)
    shop = Shop(args.users, args.items, args.events, als, config)
    kernel = _kernels(shop, config, als, args.repeat)
    spark = {} if args.kernel_only else _spark(shop, config, als, args.repeat)
    _print(args, shop, {**kernel, **spark})
    return int(spark.get("pairs_ratio", 0.0) > BAR)


def _with_the_machines_own_blas() -> None:
    """Starts again without settings that slow numpy's BLAS for both sides; a BLAS reads them when it is loaded."""
    slowed = {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"} & set(os.environ)
    if slowed or os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        kept = {name: value for name, value in os.environ.items() if name not in slowed}
        again = [sys.executable, "-m", "benchmarks.recommend", *sys.argv[1:]]
        os.execve(sys.executable, again, {**kept, "OPENBLAS_NUM_THREADS": "1"})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.recommend", description=__doc__)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=600_000)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--kernel-only", action="store_true")
    return parser


class Shop:
    """A generated shop as arrays, with every part of the item side at work; all weights alike."""

    def __init__(
        self, n_users: int, n_items: int, n_events: int, als: AlsConfig, config: RecommendConfig
    ) -> None:
        catalogue = generate_catalogue(n_items)
        events = generate_events(n_events, generate_shoppers(n_users, catalogue), catalogue)
        events["weight"] = events["event"].map(_WEIGHTS)
        pairs = events.groupby(["user_id", "item_id"], as_index=False).agg(
            event=("event", "first"),
            weight=("weight", "sum"),
            first=("timestamp", "min"),
            time=("timestamp", "max"),
        )
        self.ids = catalogue.item_id.astype(object)
        user, names = pd.factorize(pairs["user_id"], sort=True)
        self.names = np.asarray(names, dtype=object)
        self.event = pairs["event"].to_numpy(dtype=object)
        self.log = Log(
            user.astype(np.int64),
            pd.Index(self.ids).get_indexer(pd.Index(pairs["item_id"])).astype(np.int64),
            pairs["weight"].to_numpy(float),
            np.minimum(pairs["weight"].to_numpy(float), als.max_weight),
            pairs["first"].to_numpy(float),
            pairs["time"].to_numpy(float),
            len(names),
            n_items,
        )
        self.user_factors, factors = window_als(self.log, als)
        content = _content(catalogue, self.ids, SimilarConfig().look_features)
        has = np.asarray(factors.any(axis=1))
        _, predicted = factors_from_content(content, factors, has, self.user_factors)
        chosen, counts = counts_of(self.log)
        entries = co_consumption(chosen, counts, config.neighbours, 100.0)
        self.side: ItemSide = item_side(
            content, fixed_side(content), self.log, entries, factors, has, predicted, config.half_life_days
        )
        ones = np.ones(len(FEATURES))
        self.blend = Blend("learned", Settings(), ones, ones, ones, ones)

    def users(self, first: int, last: int, config: RecommendConfig) -> Users:
        """A block of users."""
        kept = (self.log.user >= first) & (self.log.user < last)
        factors = self.user_factors[first:last]
        return gather_users(
            factors,
            np.asarray(factors.any(axis=1)),
            self.log.user[kept] - first,
            self.log.item[kept],
            self.log.weight[kept],
            self.log.time[kept],
            keep=config.history,
            half_life=self.blend.settings.half_life,
            event=self.event[kept],
        )


def _content(catalogue, ids: np.ndarray, look_features: int) -> Content:  # type: ignore[no-untyped-def]
    n = len(ids)
    labels = np.stack([catalogue.kind, catalogue.colour, catalogue.pattern], axis=1)
    vectors = VectorSpace(256, 7, len(KINDS), len(COLOURS), len(PATTERNS)).of_labels(labels, chunk=0)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    mean = units.mean(axis=0)
    itself = Seen(np.arange(n + 1), np.arange(n))
    cosine, near = block_topk(units.astype(np.float32), units.astype(np.float32), _LOOK_ALIKES, seen=itself)
    centred = units - mean
    _, axes = np.linalg.eigh(centred.T @ centred)
    blocks = [
        category_block([[KIND_NAMES[kind]] for kind in catalogue.kind]),
        attribute_block("pattern", [PATTERNS[p] for p in catalogue.pattern]),
    ]
    strong = strength(cosine.ravel().astype(np.float32), float(mean @ mean))
    return Content(
        ids,
        ids,
        [block for block in blocks if block is not None],
        (centred @ axes[:, ::-1][:, :look_features]).astype(np.float32),
        Entries(np.repeat(np.arange(n), near.shape[1]), near.ravel(), strong),
        catalogue.added_at.astype(float),
        np.where(np.arange(n) % _PER_GROUP == 1, np.arange(n) - 1, np.arange(n)),
        catalogue.kind.astype(np.int64),
        np.ones(n, dtype=bool),
        np.zeros(n, dtype=np.float32),
    )


def _kernels(shop: Shop, config: RecommendConfig, als: AlsConfig, repeat: int) -> dict[str, float]:
    n = min(len(shop.user_factors), 4096)
    blocks = [
        shop.users(at, min(at + config.block_users, n), config) for at in range(0, n, config.block_users)
    ]
    factors = shop.side.factors

    def bare() -> None:
        for users in blocks:
            block_topk(users.factors, factors, config.k, seen=Seen(users.seen_indptr, users.seen))

    def ours() -> None:
        for users in blocks:
            recommend_block(users, shop.side, shop.blend, config, als)

    seconds = {"kernel_bare_us": _best(bare, repeat), "kernel_us": _best(ours, repeat)}
    per_user = {name: 1e6 * value / n for name, value in seconds.items()}
    return {**per_user, "kernel_ratio": seconds["kernel_us"] / seconds["kernel_bare_us"]}


def _spark(shop: Shop, config: RecommendConfig, als: AlsConfig, repeat: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="vizrec-recommend-") as folder:
        spark = build_session(
            "benchmarks.recommend",
            {
                "spark.master": "local[*]",
                "spark.driver.memory": "3g",
                "spark.ui.enabled": "false",
                "spark.sql.shuffle.partitions": "4",
                "spark.local.dir": str(Path(folder) / "local"),
            },
        )
        try:
            _write_rows(shop, Path(folder))
            ungrouped = F.lit(None).cast("string").alias("segment")
            rows = _held(spark.read.parquet(str(Path(folder) / "users")).select("*", ungrouped))
            factors = _held(rows.select("user_id", "factors"))
            pairs = _held(rows.select("user_id", F.inline("history")))
            items = spark.read.parquet(str(Path(folder) / "items"))
            nothing = items.limit(0)
            offered = share_factors(items)
            shared = spark.sparkContext.broadcast(shop.side)
            inputs = Inputs(nothing, pairs, factors, items, nothing, nothing, nothing)
            users = factors.select("user_id")

            def bare() -> None:
                _write(top_k(factors, offered, config.k))

            def ours() -> None:
                _write(score_users(rows, shared, shop.blend, config, als))

            def bare_from_pairs() -> None:
                _write(top_k(factors, offered, config.k, seen=pairs))

            def ours_from_pairs() -> None:
                _write(recommend_with(shared, shop.blend, inputs, users, config, als))

            seconds = {
                "bare_seconds": _best(bare, repeat),
                "seconds": _best(ours, repeat),
                "pairs_bare_seconds": _best(bare_from_pairs, repeat),
                "pairs_seconds": _best(ours_from_pairs, repeat),
            }
        finally:
            spark.stop()
    return {
        **seconds,
        "ratio": seconds["seconds"] / seconds["bare_seconds"],
        "pairs_ratio": seconds["pairs_seconds"] / seconds["pairs_bare_seconds"],
    }


def _held(frame: DataFrame) -> DataFrame:
    """`frame`, in memory."""
    held = frame.persist()
    held.count()
    return held


def _write(frame: DataFrame) -> None:
    frame.write.format("noop").mode("overwrite").save()


def _write_rows(shop: Shop, folder: Path) -> None:
    indptr, item, order = rows_of(shop.log.user, shop.log.item, shop.log.n_users)
    history = pa.ListArray.from_arrays(
        pa.array(indptr.astype(np.int32)),
        pa.StructArray.from_arrays(
            [
                pa.array(shop.ids[item], pa.string()),
                pa.array(shop.event[order], pa.string()),
                pa.array(shop.log.weight[order]),
                pa.array(shop.log.time[order]),
                pa.array(np.ones(len(order), dtype=bool)),
            ],
            ["item_id", "event", "weight", "time", "barred"],
        ),
    )
    users = pa.table({"user_id": shop.names, "factors": _vectors(shop.user_factors), "history": history})
    (folder / "users").mkdir()
    cut = -(-len(users) // 8)
    for part in range(8):
        pq.write_table(users.slice(part * cut, cut), folder / "users" / f"{part}.parquet")
    known = np.flatnonzero(shop.side.has_factors)
    (folder / "items").mkdir()
    items = pa.table({"item_id": shop.ids[known], "factors": _vectors(shop.side.factors[known])})
    pq.write_table(items, folder / "items" / "0.parquet")


def _vectors(matrix: np.ndarray) -> pa.Array:
    offsets = np.arange(len(matrix) + 1, dtype=np.int32) * matrix.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(matrix).ravel()))


def _best(body: Callable[[], None], repeat: int) -> float:
    body()  # compiles and warms
    seconds = []
    for _ in range(repeat):
        began = time.perf_counter()
        body()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _print(args: argparse.Namespace, shop: Shop, found: dict[str, float]) -> None:
    history = len(shop.log.user) / shop.log.n_users
    title = f"{args.users:,} users x {args.items:,} items, rank {args.rank}, k {args.k}, {history:.0f} items a user"
    table = Table(title=title, title_justify="left")
    for column in ("what", "bare block top-k", "recommend", "ratio"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, start in (("rows of users", ""), ("pairs, without what was seen", "pairs_")):
        if "ratio" in found:
            table.add_row(
                f"Spark, all users, from {what} (s)",
                f"{found[f'{start}bare_seconds']:.2f}",
                f"{found[f'{start}seconds']:.2f}",
                f"{found[f'{start}ratio']:.2f}",
            )
    table.add_row(
        "kernels, one thread (µs a user)",
        f"{found['kernel_bare_us']:.0f}",
        f"{found['kernel_us']:.0f}",
        f"{found['kernel_ratio']:.2f}",
    )
    Console(width=120).print(table)
    sizes = {
        "users": args.users,
        "items": args.items,
        "rank": args.rank,
        "k": args.k,
        "history": round(history, 1),
    }
    print("RESULT " + json.dumps({**sizes, **{name: round(value, 3) for name, value in found.items()}}))


if __name__ == "__main__":
    sys.exit(main())
