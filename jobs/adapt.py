"""spark-submit jobs/adapt.py --config conf/local.yml: teach the encoder the labels of this catalogue."""

from __future__ import annotations

import argparse
import sys

from vizrec_spark.app.adapting import STAGE
from vizrec_spark.app.runner import add_arguments, run_stages


def build_parser() -> argparse.ArgumentParser:
    """The job's command line."""
    return add_arguments(argparse.ArgumentParser(prog="adapt.py", description=STAGE.summary))


def main(argv: list[str] | None = None) -> int:
    """Runs the stage; the exit code."""
    return run_stages([STAGE], build_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
