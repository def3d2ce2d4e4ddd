"""The console command `vizrec`: the stages, the pipeline, the demo and the look-ups."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich_argparse import RichHelpFormatter

from vizrec_spark import __version__
from vizrec_spark.app.demo import add_demo_arguments, run_demo
from vizrec_spark.app.embedding import add_embed_arguments
from vizrec_spark.app.encoders import add_encoders_arguments, run_encoders
from vizrec_spark.app.live import add_live_arguments, run_live
from vizrec_spark.app.look import add_look_arguments, run_look
from vizrec_spark.app.lookup import add_lookup_arguments, look_up_neighbors, look_up_recommendations
from vizrec_spark.app.maintain import add_maintain_arguments, run_maintain
from vizrec_spark.app.pipeline import add_pipeline_arguments, run_pipeline
from vizrec_spark.app.restore import SUMMARY as RESTORE
from vizrec_spark.app.restore import add_restore_arguments, run_restore
from vizrec_spark.app.runner import add_arguments, run_stages
from vizrec_spark.app.serve import add_serve_arguments, run_serve
from vizrec_spark.app.stages import BESIDE, EMBED, MAINTAIN, PIPELINE

DEFAULT_CONFIG = Path("conf/local.yml")


def build_parser() -> argparse.ArgumentParser:
    """The command line of `vizrec`."""
    parser = argparse.ArgumentParser(
        prog="vizrec",
        description="Visual recommendations on Apache Spark. Every command reads the same configuration.",
        formatter_class=RichHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"vizrec {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, summary: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=summary, formatter_class=RichHelpFormatter)
        sub.set_defaults(run=run)
        return sub

    add_demo_arguments(
        command("demo", "generate a shop (or take a folder) and run everything on it", run_demo)
    )
    add_pipeline_arguments(command("pipeline", "run all stages, or some, in order", run_pipeline))
    for stage in (*PIPELINE, *BESIDE):
        if stage is MAINTAIN:
            add_maintain_arguments(command(stage.name, stage.summary, run_maintain))
            continue
        add = add_embed_arguments if stage is EMBED else add_arguments
        add(command(stage.name, stage.summary, lambda args, stage=stage: run_stages([stage], args)))  # type: ignore[misc]
    add_encoders_arguments(command("encoders", "show the encoders, or remove old ones", run_encoders))
    add_restore_arguments(command("restore", RESTORE, run_restore))
    neighbors = command("neighbors", "show the look-alikes of an item", look_up_neighbors)
    add_lookup_arguments(neighbors, "item_id", "the item to ask about")
    offers = command("recommendations", "show what is offered to a user, and why", look_up_recommendations)
    add_lookup_arguments(offers, "user_id", "the user to ask about")
    add_look_arguments(command("look", "show an item, a user or a picture in the browser", run_look))
    add_serve_arguments(command("serve", "answer over HTTP, from the tables and without Spark", run_serve))
    add_live_arguments(command("live", "stream and serve the demo, with simulated shoppers", run_live))
    return parser


def main(argv: list[str] | None = None) -> int:
    """Entry point; the exit code."""
    args = build_parser().parse_args(argv)
    if getattr(args, "config", "absent") is None and DEFAULT_CONFIG.is_file() and args.command != "demo":
        args.config = str(DEFAULT_CONFIG)
        if not args.quiet and args.log_format == "text":
            Console(stderr=True).print(
                f"[dim]Configuration: {DEFAULT_CONFIG} (name another with --config)[/]"
            )
    return int(args.run(args))


if __name__ == "__main__":
    sys.exit(main())
