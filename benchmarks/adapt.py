"""Stage `adapt` on a labelled folder: the head's accuracy and what the vectors gain, from stored embeddings.

The folder holds items.csv and pictures. Its pictures are ingested and encoded by the real stages; then the head and the
projection are learned, everything chosen on the validation part, and the test part is judged once. ``head_seconds`` is
the whole stage: labels, perceptual hashes, streaming, choosing, learning, judging and writing; ``learning_seconds`` is
its part from streaming to the last weights. The peer is the plain
encoder: its look-alikes among the same test pictures.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table as RichTable

from vizrec_spark.app.adapting import STAGE as ADAPT
from vizrec_spark.app.folder import folder_overrides
from vizrec_spark.app.runner import logged_to
from vizrec_spark.config import Config, load_config, setting
from vizrec_spark.embed.stage import STAGE as EMBED
from vizrec_spark.ingest.stage import STAGE as INGEST
from vizrec_spark.session import build_session
from vizrec_spark.stage import Stage, StageContext, StageResult
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.schemas import ADAPTATION_METRICS, LABELLED_PICTURES

_PARTS = ("orig_split", "split", "part", "subset")
_LABELS = ("category", "label", "class", "categories", "kind", "type")


def build_parser() -> argparse.ArgumentParser:
    """The benchmark's command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adapt", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with items.csv and pictures")
    parser.add_argument("--encoder", default="efficientnet_lite0", help="default: %(default)s")
    parser.add_argument("--label", help=f"column of items.csv; default: the first of {', '.join(_LABELS)}")
    parser.add_argument(
        "--part", help=f"column of train, validation, test; default: one of {', '.join(_PARTS)}, if any"
    )
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="default: all")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for the stages")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Prints the table and the line ``RESULT``; the exit code."""
    args = build_parser().parse_args(argv)
    scratch = Path(tempfile.mkdtemp(prefix="vizrec-bench-adapt-"))
    spark = build_session(
        "benchmark adapt",
        {
            "spark.master": f"local[{args.cores}]",
            "spark.driver.memory": "3g",
            "spark.sql.shuffle.partitions": str(args.cores),
            "spark.databricks.delta.snapshotPartitions": "1",
            "spark.ui.enabled": "false",
            "spark.local.dir": str(scratch / "local"),
            "spark.sql.files.openCostInBytes": "65536",
        },
    )
    try:
        with logged_to(Console(stderr=True)):
            _run(spark, scratch, load_config(None, [*_overrides(args, scratch), *args.set]))
    finally:
        spark.stop()
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


def _overrides(args: argparse.Namespace, scratch: Path) -> list[str]:
    with (args.data / "items.csv").open(encoding="utf-8", newline="") as stream:
        header = next(csv.reader(stream))
    label = args.label or _first(_LABELS, header)
    part = args.part or _first(_PARTS, header)
    if label is None:
        raise SystemExit(
            f"{args.data / 'items.csv'} has none of {', '.join(_LABELS)}: name its column with --label."
        )
    landing = args.data
    if not any((landing / name).is_file() for name in ("events.csv", "ratings.csv", "interactions.csv")):
        landing = scratch / "landing"
        landing.mkdir()
        shutil.copy(args.data / "items.csv", landing / "items.csv")
        (landing / "events.csv").write_text("user_id,item_id,timestamp,event\n", encoding="utf-8")
    pairs = folder_overrides(landing)
    columns = {"label": label, **({} if part is None else {"part": part})}
    return [
        setting("tables.root", str(scratch / "tables")),
        setting("embed.cache", str(scratch / "encoders")),
        setting("embed.encoder", args.encoder),
        *_preprocessing(args),
        *pairs,
        setting("ingest.images.path", str(args.data)),
        setting("ingest.catalogue.columns.attributes", list(columns.values())),
        setting("adapt.labels.label", f"attributes['{label}']"),
        *([] if part is None else [setting("adapt.labels.part", f"attributes['{part}']")]),
    ]


def _preprocessing(args: argparse.Namespace) -> list[str]:
    """A file does not say what its model was trained on: where nobody else does, -1 to 1, and that is told."""
    named = any(pair.startswith("embed.preprocessing=") for pair in args.set)
    if named or not args.encoder.endswith((".keras", ".onnx")):
        return []
    print(f"{args.encoder}: taken to want -1 to 1; if not, --set embed.preprocessing=...", flush=True)
    return [setting("embed.preprocessing", "tf")]


def _first(names: Sequence[str], header: Sequence[str]) -> str | None:
    return next((name for name in names if name in header), None)


def _run(spark: SparkSession, scratch: Path, config: Config) -> None:
    done = {stage.name: _timed(spark, config, stage) for stage in (INGEST, EMBED, ADAPT)}
    seconds = {name: took for name, (took, _) in done.items()}
    tables = TableStore(spark, config.tables, Stamp("benchmark", "look-up", ""))
    rows = tables.read(ADAPTATION_METRICS).where("label = ''").collect()
    found = {row.metric: row for row in rows}
    parts = {
        row.part: row.n
        for row in tables.read(LABELLED_PICTURES).groupBy("part").agg(F.count("*").alias("n")).collect()
    }
    k = config.adapt.k
    accuracy, before = found["accuracy"], found[f"precision@{k}_before"]
    after, gain = found[f"precision@{k}"], found[f"precision@{k}_gain"]
    shown = RichTable("test pictures", "value", "95 % interval", title=f"Adapted {config.embed.encoder}")
    for name, row in (
        ("accuracy", accuracy),
        (f"precision@{k}, plain features", before),
        (f"precision@{k}, adapted", after),
        (f"precision@{k}, gain", gain),
    ):
        shown.add_row(name, f"{row.value:.4f}", f"{row.lo:.4f} to {row.hi:.4f}")
    shown.add_row("expected calibration error", f"{found['expected_calibration_error'].value:.4f}", "")
    for name, value in seconds.items():
        shown.add_row(f"stage {name}", f"{value:.1f} s", "")
    Console().print(shown)
    result = {
        "accuracy": accuracy.value,
        "accuracy_lo": accuracy.lo,
        "accuracy_hi": accuracy.hi,
        "head_seconds": round(seconds["adapt"], 1),
        "learning_seconds": round(done["adapt"][1].metrics["learning_seconds"], 1),
        f"precision_at_{k}_before": before.value,
        f"precision_at_{k}_after": after.value,
        "precision_gain": gain.value,
        "precision_gain_lo": gain.lo,
        "precision_gain_hi": gain.hi,
        "macro_f1": found["macro_f1"].value,
        "expected_calibration_error": found["expected_calibration_error"].value,
        "pictures": parts,
        "cores": spark.sparkContext.defaultParallelism,
    }
    print("RESULT " + json.dumps(result))


def _timed(spark: SparkSession, config: Config, stage: Stage) -> tuple[float, StageResult]:
    began = time.perf_counter()
    store = TableStore(spark, config.tables, Stamp("benchmark", stage.name, config.fingerprint()))
    done = stage.run(StageContext(spark, config, store, "benchmark"))
    seconds = time.perf_counter() - began
    for note in done.notes:
        print(f"{stage.name}: {note}", flush=True)
    print(f"stage {stage.name}: {seconds:.1f} s", flush=True)
    return seconds, done


if __name__ == "__main__":
    sys.exit(main())
