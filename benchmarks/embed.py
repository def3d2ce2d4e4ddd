"""Stage `embed` as it runs, against ``keras.Model.predict`` and against its own runtime on arrays in memory.

The job reads pictures that stage `ingest` took from JPEG files, decodes them, encodes them and commits the vectors to
Delta, in two chunks. Both peers get the same pictures, all of them, decoded beforehand; the runtime has the batch and
the threads of the job, or, where those are not set, the faster of one worker a core and one on all cores. Everything
runs on the cores of one machine, one after the other, in one process tree.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import SparkSession
from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.landing import contents, landing_overrides, write_landing
from vizrec_spark.app.runner import logged_to
from vizrec_spark.config import Config, load_config
from vizrec_spark.embed.memory import worker_peak_bytes
from vizrec_spark.embed.quiet import import_keras
from vizrec_spark.embed.resolve import ReadyEncoder, ready_encoder
from vizrec_spark.embed.runtimes import load_runtime
from vizrec_spark.embed.stage import STAGE as EMBED
from vizrec_spark.imaging import load_rgb
from vizrec_spark.ingest.stage import STAGE as INGEST
from vizrec_spark.session import build_session
from vizrec_spark.stage import Stage, StageContext
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.schemas import EMBEDDINGS, IMAGES

RESNET = ["embed.encoder=keras.applications:ResNet50", "embed.weights=random:1"]
SMALL = [
    "embed.encoder=keras.applications:MobileNet",
    "embed.weights=random:1",
    "embed.options={alpha: 0.25}",
]
NEIGHBOURS = 10


def build_parser() -> argparse.ArgumentParser:
    """The benchmark's command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embed", description=__doc__)
    parser.add_argument("--images", type=int, default=3000, help="pictures (default: %(default)s)")
    parser.add_argument(
        "--folder", type=Path, help="take the JPEG files below it; default: generated pictures"
    )
    parser.add_argument(
        "--memory-images", type=int, default=10_000, help="pictures of the memory test; 0 leaves it out"
    )
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="default: all")
    parser.add_argument(
        "--task-cpus", type=int, default=1, help="cores a Python worker (default: %(default)s)"
    )
    parser.add_argument("--trained", default="efficientnet_lite0", help="encoder with real weights, or none")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for the stage")
    return parser


class Bench:
    """Stages on the tables of a scratch folder."""

    def __init__(self, spark: SparkSession, scratch: Path, overrides: Sequence[str]) -> None:
        self.spark, self.scratch, self._overrides = spark, scratch, list(overrides)

    def config(self, tables: str, landing: Path, encoder: Sequence[str]) -> Config:
        return load_config(
            None,
            [
                f"tables.root={self.scratch / tables}",
                f"embed.cache={self.scratch / 'encoders'}",
                *landing_overrides(landing),
                *encoder,
                *self._overrides,
            ],
        )

    def context(self, config: Config, stage: Stage) -> StageContext:
        stamp = Stamp("benchmark", stage.name, config.fingerprint())
        return StageContext(self.spark, config, TableStore(self.spark, config.tables, stamp), "benchmark")

    def timed(self, stage: Stage, config: Config) -> float:
        """Seconds that the whole stage takes."""
        began = time.perf_counter()
        stage.run(self.context(config, stage))
        return time.perf_counter() - began


def main(argv: list[str] | None = None) -> int:
    """Prints the table and the line ``RESULT``; the exit code."""
    args = build_parser().parse_args(argv)
    scratch = Path(tempfile.mkdtemp(prefix="vizrec-bench-embed-"))
    spark = build_session(
        "benchmark embed",
        {
            "spark.master": f"local[{args.cores}]",
            "spark.task.cpus": str(args.task_cpus),
            "spark.driver.memory": "3g",
            "spark.sql.shuffle.partitions": str(args.cores),
            "spark.databricks.delta.snapshotPartitions": "1",
            "spark.ui.enabled": "false",
            "spark.local.dir": str(scratch / "local"),
            "spark.sql.files.openCostInBytes": "65536",  # thousands of small files a task, for `ingest`
        },
    )
    try:
        with logged_to(Console(stderr=True)):
            result = _run(args, Bench(spark, scratch, args.set))
    finally:
        spark.stop()
        shutil.rmtree(scratch, ignore_errors=True)
    _print(result)
    return 0


def _run(args: argparse.Namespace, bench: Bench) -> dict[str, Any]:
    result: dict[str, Any] = {"images": args.images, "cores": args.cores, "task_cpus": args.task_cpus}
    result["source"] = str(args.folder.name) if args.folder else "generated"
    if args.memory_images:
        result |= _memory(args, bench)  # first, as a worker's peak includes all that it did before
    landing = bench.scratch / "landing"
    distinct = write_landing(landing, args.images, args.folder)
    result["distinct_images"] = distinct
    main = bench.config("tables", landing, [*RESNET, f"embed.chunk={-(-args.images // 2)}"])
    result["ingest_s"] = bench.timed(INGEST, main)
    result |= _cold(args, bench)
    encoder = ready_encoder(bench.context(main, EMBED))
    result |= {
        "encoder_id": encoder.encoder_id,
        "runtime": encoder.choice.runtime,
        "precision": encoder.choice.precision,
    }
    full = bench.timed(EMBED, main)
    result |= {"full_s": full, "images_per_s": args.images / full}
    result["worker_peak_mib"] = worker_peak_bytes(bench.spark) >> 20
    result |= _again(args, bench, main, landing, full)
    pixels, decoding = _pixels(landing, args.images, encoder)
    result["decode_ms"] = 1000 * decoding / args.images
    result |= _peers(args, bench, main, encoder, pixels, distinct)
    result["ratio_vs_keras_predict"] = result["images_per_s"] / result["keras_predict_images_per_s"]
    result["ratio_vs_runtime_ceiling"] = result["images_per_s"] / result["runtime_images_per_s"]
    if args.trained != "none":
        result |= _trained(args, bench, landing, pixels, distinct)
    return result


def _memory(args: argparse.Namespace, bench: Bench) -> dict[str, Any]:
    """Peak memory of the workers after each quarter, through the real stages with a small encoder: what grows would be
    pictures. The workers are those of `ingest` too, which decodes in them."""
    quarter = -(-args.memory_images // 4)
    landing = bench.scratch / "memory"
    config = bench.config("memory-tables", landing, SMALL)
    peaks = []
    for number in range(4):
        write_landing(landing, quarter, args.folder, first=number * quarter)
        bench.timed(INGEST, config)
        bench.timed(EMBED, config)
        peaks.append(worker_peak_bytes(bench.spark) >> 20)
    shutil.rmtree(landing)
    return {
        "memory_images": 4 * quarter,
        "memory_peaks_mib": peaks,
        "memory_growth": peaks[-1] / peaks[0] - 1,
    }


def _cold(args: argparse.Namespace, bench: Bench) -> dict[str, Any]:
    """What the first run pays: the encoder built and exported, and the model loaded by each worker."""
    landing = bench.scratch / "few"
    write_landing(landing, 64, args.folder)
    config = bench.config("few-tables", landing, RESNET)
    bench.timed(INGEST, config)
    began = time.perf_counter()
    ready_encoder(bench.context(config, EMBED))
    export = time.perf_counter() - began
    return {"export_s": export, "first_run_64_images_s": bench.timed(EMBED, config)}


def _again(
    args: argparse.Namespace, bench: Bench, config: Config, landing: Path, full: float
) -> dict[str, Any]:
    """Nothing new, then 1 % new."""
    nothing = bench.timed(EMBED, config)
    new = max(args.images // 100, 1)
    write_landing(landing, new, args.folder, first=args.images)
    bench.timed(INGEST, config)
    one_percent = bench.timed(EMBED, config)
    return {
        "nothing_new_s": nothing,
        "one_percent_new_s": one_percent,
        "one_percent_share": max(one_percent - nothing, 0.0) / full,
    }


def _pixels(landing: Path, count: int, encoder: ReadyEncoder) -> tuple[np.ndarray, float]:
    """The decoded pictures, and the seconds that one thread took."""
    compressed = list(contents(landing, count))
    pixels = np.empty((count, *encoder.input_size, 3), dtype=np.uint8)
    began = time.perf_counter()
    for i, content in enumerate(compressed):
        pixels[i] = load_rgb(content, encoder.input_size)
    return pixels, time.perf_counter() - began


def _peers(
    args: argparse.Namespace,
    bench: Bench,
    config: Config,
    encoder: ReadyEncoder,
    pixels: np.ndarray,
    distinct: int,
) -> dict[str, Any]:
    embed = config.embed
    ways = {(args.cores, 1), (1, args.cores)}
    if (
        embed.threads is not None or args.task_cpus > 1
    ):  # as many workers as Spark starts, each as the job runs it
        ways = {(max(args.cores // args.task_cpus, 1), embed.threads or args.task_cpus)}
    ceilings = {
        f"{workers} x {threads} threads": _ceiling(encoder, pixels, workers, threads, embed.batch_size)
        for workers, threads in sorted(ways)
    }
    features, rate = _predicted(config, encoder, pixels)
    ours = _vectors(bench, config, encoder, len(pixels))
    return {
        "runtime_images_per_s": max(ceilings.values()),
        "runtime_ways": ceilings,
        "keras_predict_images_per_s": rate,
        **_fidelity(ours, features, distinct),
    }


def _ceiling(
    encoder: ReadyEncoder, pixels: np.ndarray, workers: int, threads: int, batch_size: int | None
) -> float:
    """Pictures a second of the runtime alone: `workers` of it at once, each on `threads` threads."""
    runtimes = [
        load_runtime(
            encoder.choice.runtime,
            encoder.path,
            precision=encoder.choice.precision,
            batch_size=batch_size,
            threads=threads,
        )
        for _ in range(workers)
    ]

    def encode(runtime: Any, mine: np.ndarray) -> None:
        for i in range(0, len(mine), runtime.batch_size):
            runtime.encode(mine[i : i + runtime.batch_size])

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda runtime: encode(runtime, pixels[: 2 * runtime.batch_size]), runtimes))
        began = time.perf_counter()
        list(pool.map(encode, runtimes, np.array_split(pixels, workers)))
        return len(pixels) / (time.perf_counter() - began)


def _predicted(config: Config, encoder: ReadyEncoder, pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """Float32 features by ``keras.Model.predict`` on arrays in memory, and pictures a second."""
    source = next(Path(config.embed.cache).glob(f"{encoder.path.name.split('.')[0]}.keras"))
    model = import_keras().saving.load_model(source, compile=False)
    rgb = pixels.astype(np.float32)
    model.predict(rgb[:64], batch_size=32, verbose=0)
    began = time.perf_counter()
    features = model.predict(rgb, batch_size=32, verbose=0)
    return features, len(pixels) / (time.perf_counter() - began)


def _vectors(bench: Bench, config: Config, encoder: ReadyEncoder, count: int) -> np.ndarray:
    """What the job committed, in the order of the files."""
    tables = bench.context(config, EMBED).tables
    found = tables.read(EMBEDDINGS).where(f"encoder_id = '{encoder.encoder_id}'")
    rows = (
        found.join(tables.read(IMAGES).select("path", "sha256"), "sha256").select("path", "vector").toPandas()
    )
    return np.stack(rows.sort_values("path").vector.to_list()[:count]).astype(np.float32)


def _fidelity(ours: np.ndarray, theirs: np.ndarray, distinct: int) -> dict[str, Any]:
    cosine = (ours * theirs).sum(axis=1) / (np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1))
    mine, keras = _nearest(ours[:distinct]), _nearest(theirs[:distinct])
    shared = [len(set(a) & set(b)) / len(a) for a, b in zip(mine, keras, strict=True)]
    return {
        "cosine_median": float(np.median(cosine)),
        "cosine_min": float(cosine.min()),
        "neighbour_overlap_at_10": float(np.mean(shared)),
    }


def _nearest(vectors: np.ndarray) -> np.ndarray:
    """The ten nearest of each by cosine, itself left out."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    return np.argpartition(-cosine, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]


def _trained(
    args: argparse.Namespace, bench: Bench, landing: Path, pixels: np.ndarray, distinct: int
) -> dict[str, Any]:
    """Fidelity with weights that mean something: random ones put all pictures almost into one point."""
    config = bench.config("tables", landing, [f"embed.encoder={args.trained}"])
    seconds = bench.timed(EMBED, config)
    encoder = ready_encoder(bench.context(config, EMBED))
    features, rate = _predicted(config, encoder, pixels)
    found = _fidelity(_vectors(bench, config, encoder, len(pixels)), features, distinct)
    more = {
        "images_per_s": (args.images + max(args.images // 100, 1)) / seconds,
        "keras_predict_images_per_s": rate,
    }
    return {"trained_encoder": args.trained, **{f"trained_{k}": v for k, v in (found | more).items()}}


def _print(result: dict[str, Any]) -> None:
    table = RichTable(title="Stage embed", title_justify="left")
    table.add_column("what")
    table.add_column("value", justify="right")
    for name, value in result.items():
        table.add_row(name.replace("_", " "), f"{value:,.4g}" if isinstance(value, float) else str(value))
    Console(file=sys.stdout, width=110).print(table)
    rounded = {k: round(v, 5) if isinstance(v, float) else v for k, v in result.items()}
    print("RESULT", json.dumps(rounded))


if __name__ == "__main__":
    sys.exit(main())
