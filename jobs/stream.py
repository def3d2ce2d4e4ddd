"""spark-submit jobs/stream.py --config conf/local.yml: live events in, live recommendations out."""

from __future__ import annotations

import argparse
import sys

from vizrec_spark.app.runner import add_arguments, run_stages
from vizrec_spark.stream.stage import STAGE


def build_parser() -> argparse.ArgumentParser:
    """The job's command line."""
    return add_arguments(argparse.ArgumentParser(prog="stream.py", description=STAGE.summary))


def main(argv: list[str] | None = None) -> int:
    """Runs the stage; the exit code."""
    return run_stages([STAGE], build_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
