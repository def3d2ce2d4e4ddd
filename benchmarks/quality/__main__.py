"""How good every model is: split, embed, similar, ALS (tuned), hybrid, evaluate.

    python -m benchmarks.quality --data FOLDER --encoder FILE.keras --set embed.layer=avg_pool \\
        --set 'embed.preprocessing={mean: 127, scale: 128}'
    python -m benchmarks.quality --items 2000 --users 1500 --events 60000      # the generated shop

FOLDER holds items.csv, ratings.csv or events.csv, and pictures. `--work` keeps the tables for the next run. Ends in a
line ``RESULT {json}``, keyed by protocol and model.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from rich.console import Console

from benchmarks.quality.data import configuration, prepare
from benchmarks.quality.figures import Figures
from benchmarks.quality.judge import Round
from benchmarks.quality.models import COLD, MIXED, WARM
from benchmarks.quality.protocols import Data, cold_items_rounds, mixed_items_rounds, user_time_round
from benchmarks.quality.window import Model, Window
from vizrec_spark.config.models import EvaluateConfig
from vizrec_spark.evaluate.facts import ItemFacts, build_facts
from vizrec_spark.evaluate.judged import among
from vizrec_spark.evaluate.measure import Judged, measure
from vizrec_spark.session import SMALL_PLANS, UNSUMMED_FILES, build_session

_REMEMBERED = ("spark.sql.ui.retainedExecutions", "spark.ui.retainedJobs", "spark.ui.retainedStages")
PROTOCOLS = ("user_time", "cold_items", "mixed_items")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", metavar="FOLDER", help="default: a generated shop")
    parser.add_argument("--encoder", default="efficientnet_lite0", metavar="ENCODER", help="embed.encoder")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--items", type=int, default=2_000)
    parser.add_argument("--users", type=int, default=1_500)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--protocol", choices=PROTOCOLS, help="default: all")
    parser.add_argument("--seeds", type=int, default=10, help="draws of cold items")
    parser.add_argument("--models", nargs="*", help="only these")
    parser.add_argument("--depth", type=int, default=1_000, help="ranks that are judged")
    parser.add_argument(
        "--work", metavar="FOLDER", help="keeps the tables here (default: a temporary folder)"
    )
    parser.add_argument("--seed", type=int, default=7)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Runs the protocols and prints tables and result."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if unknown := sorted(set(args.models or ()) - {*WARM, *COLD, *MIXED}):
        parser.error(f"no model {', '.join(unknown)}; there are {', '.join({**WARM, **COLD, **MIXED})}")
    if args.seeds < 1:
        parser.error("--seeds must be at least 1")
    if args.work is not None:
        _run(args, Path(args.work))
        return
    with tempfile.TemporaryDirectory(prefix="vizrec-quality-") as folder:
        _run(args, Path(folder))


def _run(args: argparse.Namespace, folder: Path) -> None:
    config = configuration(args, folder)
    spark = build_session(
        "benchmarks.quality",
        {
            "spark.master": "local[*]",
            "spark.driver.memory": "6g",
            "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": "4",
            "spark.databricks.delta.snapshotPartitions": "1",
            "spark.local.dir": str(folder / "local"),
            # What a session remembers of thousands of queries and tables would fill its memory.
            "spark.driver.extraJavaOptions": "-Ddelta.log.cacheSize=50",
            **dict.fromkeys(_REMEMBERED, "50"),
            **SMALL_PLANS,
            **UNSUMMED_FILES,
        },
    )
    spark.sparkContext.setCheckpointDir(str(folder / "checkpoints"))
    spark.sparkContext.setLogLevel("ERROR")
    result: dict[str, Any] = {}
    try:
        tables = prepare(spark, config)
        with tempfile.TemporaryDirectory(prefix="windows-", dir=folder) as scratch:
            data = Data.apart(spark, config, tables, Path(scratch), args.depth)
            if args.protocol in (None, "user_time"):
                result["user_time"] = protocol(args, "user_time", [user_time_round(data)], WARM)
            if args.protocol in (None, "cold_items"):
                result["cold_items"] = protocol(args, "cold_items", cold_items_rounds(data, args.seeds), COLD)
            if args.protocol in (None, "mixed_items"):
                rounds = mixed_items_rounds(data, args.seeds)
                result["mixed_items"] = protocol(args, "mixed_items", rounds, MIXED)
    finally:
        spark.stop()
    print("RESULT " + json.dumps(_without_nan(result)))


def protocol(
    args: argparse.Namespace, name: str, rounds: Iterable[Round], models: Mapping[str, Model]
) -> dict[str, Any]:
    """Every model on every window, measured together."""
    chosen = {m: run for m, run in models.items() if not args.models or m in args.models}
    if not chosen:
        return {}
    judged, seconds = [], dict.fromkeys(chosen, 0.0)
    new: dict[str, list[float]] = {}
    for own in rounds:
        window, lists = own.window, {}
        for model, run in chosen.items():
            began = monotonic()
            lists[model] = _kept(run(window), window, model)
            seconds[model] += monotonic() - began
        own.refuse_cheats()
        if models is MIXED:
            for name_of, share in _new_shares(lists, own).items():
                new.setdefault(name_of, []).append(share)
        judged.append(Judged(own.relevant, window.known.select("user_id", "item_id"), lists, _facts(window)))
        print(f"{window.name}: " + ", ".join(f"{m} {s:.0f} s" for m, s in seconds.items()), flush=True)
    spark = judged[0].relevant.sparkSession
    evaluate = EvaluateConfig(cutoffs=(10, 20), depth=args.depth, seed=42)
    reference = "hybrid" if "hybrid" in chosen else next(iter(chosen))
    rows = measure(spark, judged, evaluate, reference).metrics.collect()
    figures = Figures(rows, list(chosen), reference)
    figures.print(f"{name}: {len(judged)} split(s), intervals over users", Console(width=240))
    result = figures.result()
    for name_of, shares in new.items():
        share = sum(shares) / len(shares)
        print(f"  of {name_of} {share:.2%} is new")
        if name_of in result:
            result[name_of]["new_share"] = share
    return result


def _new_shares(lists: Mapping[str, DataFrame], own: Round) -> dict[str, float]:
    """The share of items that nobody had met in the first ten of each model's lists, in what is to be found
    (`to_be_found`), and in the catalogue (`catalogue`)."""
    met = own.window.known.select("item_id").distinct()
    frames = {"to_be_found": own.relevant, "catalogue": own.window.candidates}
    for model, frame in lists.items():
        ranked = "rank" in frame.columns
        frames[model] = (
            frame.where("rank <= 10")
            if ranked
            else frame.select(F.explode(F.slice("items", 1, 10)).alias("item_id"))
        ).select("item_id")
    return {
        name: frame.select("item_id").join(met, "item_id", "left_anti").count() / max(frame.count(), 1)
        for name, frame in frames.items()
    }


def _kept(lists: DataFrame, window: Window, model: str) -> DataFrame:
    """The lists as a file, so that a model is run once. What is no candidate is no part of them: warm items are not
    ranked among the cold, so a model that knows warm items alone has nothing to say there."""
    place = str(window.folder / f"judged-{model}")
    if window.cold and "rank" in lists.columns:
        lists = among(lists, window.candidates)
    lists.write.mode("overwrite").parquet(place)
    return window.spark.read.parquet(place)


def _facts(window: Window) -> ItemFacts:
    known = window.known.select("user_id", "item_id").distinct()
    return build_facts(
        window.items.select("item_id", "categories").toArrow(),
        known.groupBy("item_id").agg(F.count(F.lit(1)).alias("people")).toArrow(),
        known.select("user_id").distinct().count(),
        candidates=window.candidates.toArrow(),
        vectors=window.vectors.toArrow(),
    )


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


if __name__ == "__main__":
    main()
