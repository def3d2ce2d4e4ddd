"""Stage `report` on tables of a given size: how long from tables to file, and how large the file is.

    python -m benchmarks.report --items 10000 --users 10000
    python -m benchmarks.report --items 100000 --users 10000

Writes tables with pictures of the grain of photos, then runs ``vizrec report`` twice, each time in a process of its
own that has Spark to start: the first makes all thumbnails, the second finds them. What was written is on the disk
before they begin. It prints a line each, what was asked for (60 s, 15 MB), and the line RESULT. What the tables say is
drawn by hashes and means nothing; their sizes are what counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from benchmarks.landing import commented, generated
from vizrec_spark.config import Config, load_config
from vizrec_spark.session import build_session
from vizrec_spark.tables import Stamp, Table, TableStore
from vizrec_spark.tables.encoders import encoder_key
from vizrec_spark.tables.schemas import (
    BLEND_WEIGHTS,
    COMPARED_ITEMS,
    ENCODERS,
    IMAGES,
    INTERACTIONS,
    ITEM_NEIGHBORS,
    ITEMS,
    METRICS,
    NEAR_DUPLICATES,
    QUARANTINE,
    RECOMMENDATIONS,
    RUNS,
    SIMILARITY_QUALITY,
    USERS,
    WORST_LISTS,
)

SECONDS, MEGABYTES = 60.0, 15.0
"""What the report may take from tables to file, and weigh."""

ENCODER = "benchmark"
PICTURES, SIDES = 64, (240, 320)
REFUSED_FILES, REFUSED_RECORDS = 40, 2000
EVENTS, OFFERS, NEIGHBORS, LOOKS = 20, 50, 10, 32
MODELS, RUN_IDS = ("hybrid", "als", "popularity"), tuple(f"week-{n}" for n in range(8))
SLICES = ("all", "cold_items", "head_items", "tail_items", "light_users", "heavy_users", "new_users")


def main(argv: list[str] | None = None) -> int:
    """Prints the lines and ``RESULT``; 1 where a goal is missed, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--users", type=int, default=10_000)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="vizrec-report-") as folder:
        pairs = [f"tables.root={folder}/tables", f"report.path={folder}/report.html", "spark.master=local[2]"]
        pairs.append(f"ingest.images.path={folder}/landing")
        write_refused(Path(folder, "landing"))
        write_tables(load_config(None, pairs), args.items, args.users)
        os.sync()
        result: dict[str, float] = {"items": args.items, "users": args.users}
        for name in ("first", "again"):
            result[f"seconds_{name}"] = round(run_report(pairs), 1)
            print(f"{name}: {result[f'seconds_{name}']} s, Spark's start included", flush=True)
        page = Path(folder, "report.html").read_bytes()
        result |= {
            "megabytes": round(len(page) / 1e6, 2),
            "pictures": page.count(b"background-image:url(data:"),
        }
    print(f"{result['pictures']} pictures, {result['megabytes']} MB")
    met = result["seconds_first"] <= SECONDS and result["megabytes"] <= MEGABYTES
    print(f"asked for: {SECONDS:.0f} s, {MEGABYTES:.0f} MB: {'met' if met else 'missed'}")
    print("RESULT", json.dumps(result | {"met": met}))
    return 0 if met else 1


def write_refused(landing: Path) -> None:
    """The files of refused pictures: half of them whole, which were refused for what the catalogue says."""
    landing.mkdir()
    for number in range(REFUSED_FILES):
        whole = generated(number, SIDES)
        (landing / f"r{number}.jpg").write_bytes(whole if number % 2 else whole[: len(whole) // 2])


def run_report(pairs: list[str]) -> float:
    """Seconds of the command."""
    vizrec = str(Path(sys.executable).with_name("vizrec"))
    began = time.monotonic()
    subprocess.run(
        [vizrec, "report", "--quiet", *(x for pair in pairs for x in ("--set", pair))],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.monotonic() - began


def write_tables(config: Config, n_items: int, n_users: int) -> None:
    """Every table that the report reads."""
    conf = {"spark.master": "local[2]", "spark.driver.memory": "3g", "spark.ui.enabled": "false"}
    spark = build_session("benchmark", {**conf, "spark.sql.shuffle.partitions": "8"})
    tables = TableStore(spark, config.tables, Stamp("week-7", "benchmark", "0"))
    for table, frame in frames(spark, config, n_items, n_users):
        tables.overwrite(table, frame)
    spark.stop()


def frames(
    spark: SparkSession, config: Config, n_items: int, n_users: int
) -> Iterator[tuple[Table, DataFrame]]:
    """What the tables are to hold."""
    items = spark.range(n_items).select("id", item("id").alias("item_id"))
    users = spark.range(n_users).select("id", F.concat(F.lit("u"), "id").alias("user_id"))
    yield from (
        (ITEMS, catalogue(items)),
        (USERS, users),
        (INTERACTIONS, events(users, n_items)),
        (IMAGES, images(items)),
        (ENCODERS, rows(spark, ENCODERS, [(encoder_key(config.embed), ENCODER, LOOKS)])),
        (COMPARED_ITEMS, looks(items)),
        (ITEM_NEIGHBORS, neighbors(items, n_items)),
        (NEAR_DUPLICATES, duplicates(items)),
        (SIMILARITY_QUALITY, rows(spark, SIMILARITY_QUALITY, [quality(n_items)])),
        (RECOMMENDATIONS, recommendations(users, n_items)),
        (BLEND_WEIGHTS, rows(spark, BLEND_WEIGHTS, weights())),
        (METRICS, rows(spark, METRICS, list(metrics()))),
        (QUARANTINE, rows(spark, QUARANTINE, list(refused()))),
        (WORST_LISTS, rows(spark, WORST_LISTS, list(worst(n_items)))),
        (RUNS, rows(spark, RUNS, list(runs(n_items)))),
    )


def item(number: str | Column) -> Column:
    return F.concat(F.lit("i"), number)


def drawn(*of: Column, below: int) -> Column:
    """A whole number from 0 to `below`, by a hash."""
    return F.pmod(F.xxhash64(*of), F.lit(below))


def rows(spark: SparkSession, table: Table, given: list[tuple[object, ...]]) -> DataFrame:
    return spark.createDataFrame(given, table.schema)


def catalogue(items: DataFrame) -> DataFrame:
    return items.select(
        "item_id",
        F.concat(F.lit("Product "), "id").alias("title"),
        F.array(F.concat(F.lit("category "), F.col("id") % 40)).alias("categories"),
        F.lit(9.5).alias("price"),
        F.timestamp_seconds(F.lit(1.7e9)).alias("added_at"),
        F.create_map(F.lit("colour"), F.lit("red")).alias("attributes"),
    )


def events(users: DataFrame, n_items: int) -> DataFrame:
    each = users.where("id % 50 > 0").withColumn("n", F.explode(F.sequence(F.lit(1), F.lit(EVENTS))))
    return each.select(
        "user_id",
        item(drawn(F.col("id"), F.col("n"), below=n_items)).alias("item_id"),
        F.lit("view").alias("event"),
        F.lit(None).cast("double").alias("rating"),
        F.lit(1.0).alias("weight"),
        F.timestamp_seconds(F.lit(1.75e9) + F.col("n") * 3600 + F.col("id")).alias("timestamp"),
    )


def images(items: DataFrame) -> DataFrame:
    """A few generated pictures, each time with another comment, so that every content is one of its own."""
    pool = [generated(number, SIDES) for number in range(PICTURES)]

    def make(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            batch["content"] = [commented(pool[n % PICTURES], n) for n in batch["id"]]
            yield batch[["item_id", "content"]]

    made = items.repartition(16).mapInPandas(make, "item_id string, content binary")
    return made.select(
        "item_id",
        F.concat("item_id", F.lit(".jpg")).alias("path"),
        F.sha2("content", 256).alias("sha256"),
        F.lit(SIDES[0]).alias("width"),
        F.lit(SIDES[1]).alias("height"),
        F.lit("JPEG").alias("format"),
        F.octet_length("content").cast("long").alias("bytes"),
        F.timestamp_seconds(F.lit(1.7e9)).alias("modified"),
        "content",
    )


def looks(items: DataFrame) -> DataFrame:
    numbers = [(drawn(F.col("id"), F.lit(i), below=2001) / 1000 - 1).cast("float") for i in range(LOOKS)]
    return items.select(
        F.lit(ENCODER).alias("encoder_id"),
        "item_id",
        F.sha2("item_id", 256).alias("content"),
        F.array(*numbers).alias("looks"),
    )


def neighbors(items: DataFrame, n_items: int) -> DataFrame:
    each = items.withColumn("rank", F.explode(F.sequence(F.lit(1), F.lit(NEIGHBORS))))
    return each.select(
        F.lit(ENCODER).alias("encoder_id"),
        "item_id",
        "rank",
        item((F.col("id") + F.col("rank") * 7) % n_items).alias("neighbor_id"),
        (drawn(F.col("id"), below=800) / 1000 - F.col("rank") / 100).cast("float").alias("cosine"),
        F.col("rank").cast("float").alias("distance"),
    )


def duplicates(items: DataFrame) -> DataFrame:
    """Pairs, of one item in fifty."""
    head = F.col("id") - F.col("id") % 100
    return items.where("id % 100 < 2").select(
        F.lit(ENCODER).alias("encoder_id"),
        "item_id",
        item(head).alias("group_id"),
        F.lit(2).cast("long").alias("group_size"),
    )


def quality(n_items: int) -> tuple[object, ...]:
    found = {
        "encoder_id": ENCODER,
        "method": "lsh",
        "plan": "shared",
        "setting": "10 tables of 12 bits",
        "metric": "cosine",
        "fingerprint": "f" * 64,
        "n_items": n_items,
        "n_searched": n_items,
        "k": NEIGHBORS,
        "target_recall": 0.95,
        "recall": 0.96,
        "recall_lo": 0.95,
        "recall_hi": 0.97,
        "n_queries": 500,
        "candidates_per_item": 500.0,
        "n_reranked": 100,
        "n_buckets": 4000,
        "bucket_skew": 2.5,
        "bucket_histogram": [400, 900, 1500, 800, 300, 100],
        "max_bucket_share": 0.01,
        "n_split_buckets": 0,
        "n_cut_pairs": 0,
        "mean_cosine": 0.2,
    }
    return tuple(found[name] for name in SIMILARITY_QUALITY.columns)


def recommendations(users: DataFrame, n_items: int) -> DataFrame:
    each = users.withColumn("rank", F.explode(F.sequence(F.lit(1), F.lit(OFFERS))))
    sources = F.array(*(F.lit(s) for s in ("als", "cooccurrence", "visual", "attributes", "popularity")))
    parts = ("cf", "cooccurrence", "visual", "attributes", "popularity", "boost")
    return each.select(
        "user_id",
        "rank",
        item(drawn(F.col("rank"), F.col("id"), below=n_items)).alias("item_id"),
        F.lit(1.5).alias("score"),
        *(F.lit(0.25).alias(f"score_{part}") for part in parts),
        F.element_at(sources, (drawn(F.col("id"), F.col("rank"), below=5) + 1).cast("int")).alias("source"),
        F.array(F.lit("als")).alias("proposed_by"),
        item(drawn(F.col("id"), F.lit(1), below=n_items)).alias("because_item_id"),
        F.create_map(F.lit("cf"), F.lit("i1")).alias("because"),
        F.lit("People who viewed it chose this as well").alias("reason"),
        F.lit("model").alias("model_id"),
        F.lit(ENCODER).alias("encoder_id"),
    )


def weights() -> list[tuple[object, ...]]:
    return [
        (
            f"feature_{n}",
            "cf",
            0.1 * n,
            0.1 * n - 0.05,
            0.1 * n + 0.05,
            1.0,
            "learned",
            1.0,
            8.0,
            100.0,
            0.1,
            0.01,
            0.0,
            0.02,
        )
        for n in range(12)
    ]


def metrics() -> Iterator[tuple[object, ...]]:
    for run in RUN_IDS:
        for of in SLICES:
            for i, model in enumerate(MODELS):
                for metric in ("ndcg@10", "recall@10", "hit_rate@10", "coverage@10", "novelty@10", "map@10"):
                    value = 0.3 - i / 20
                    against = (
                        ("hybrid", -i / 20, 900, -i / 20 - 0.01, -i / 20 + 0.01, 0.01) if i else (None,) * 6
                    )
                    yield (
                        run,
                        "user_time",
                        of,
                        model,
                        metric,
                        value,
                        value - 0.02,
                        value + 0.02,
                        900,
                        *against,
                    )


def worst(n_items: int) -> Iterator[tuple[object, ...]]:
    for metric in ("ndcg@10", "diversity@10", "miscalibration@10"):
        for place in range(1, 11):
            offered, missed = (
                [f"i{(97 * place + 11 * n + shift) % n_items}" for n in range(10)] for shift in (0, 5)
            )
            found = (0.0, 20, 10, None, offered, missed)
            yield (RUN_IDS[-1], "user_time", MODELS[0], metric, place, f"u{place}", *found)


def refused() -> Iterator[tuple[object, ...]]:
    for number in range(REFUSED_FILES):
        reason = "unknown_item" if number % 2 else "truncated"
        yield ("ingest", "images", reason, "why it was refused", None, f"r{number}.jpg")
    for number in range(REFUSED_RECORDS):
        yield ("ingest", "interactions", "unknown_item", "no such item", f"u{number} i", "a,b,c")


def runs(n_items: int) -> Iterator[tuple[object, ...]]:
    shares = {f"from_{s}": 100.0 for s in ("als", "visual", "popularity")}
    for week, run in enumerate(RUN_IDS):
        for hour, stage in enumerate(
            ("ingest", "embed", "similar", "als", "recommend", "evaluate", "report")
        ):
            ended = datetime(2025, 5, 1, hour, tzinfo=UTC) + timedelta(weeks=week)
            wrote = [("items", week, n_items, 0, 1000)] if stage == "ingest" else []
            told = shares if stage == "recommend" else {"recall": 0.96} if stage == "similar" else {}
            yield (run, stage, "0", "done", ended, 1.0, ENCODER, wrote, told, [])


if __name__ == "__main__":
    sys.exit(main())
