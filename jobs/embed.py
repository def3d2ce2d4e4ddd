"""spark-submit jobs/embed.py --config conf/local.yml: encode the pictures that have no embedding yet."""

from __future__ import annotations

import argparse
import sys

from vizrec_spark.app.embedding import add_embed_arguments
from vizrec_spark.app.runner import run_stages
from vizrec_spark.embed.stage import STAGE


def build_parser() -> argparse.ArgumentParser:
    """The job's command line."""
    return add_embed_arguments(argparse.ArgumentParser(prog="embed.py", description=STAGE.summary))


def main(argv: list[str] | None = None) -> int:
    """Runs the stage; the exit code."""
    return run_stages([STAGE], build_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
