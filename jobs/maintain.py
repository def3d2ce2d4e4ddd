"""spark-submit jobs/maintain.py --config conf/local.yml [--dry-run]: compact, cluster and vacuum the tables."""

from __future__ import annotations

import argparse
import sys

from vizrec_spark.app.maintain import add_maintain_arguments, run_maintain
from vizrec_spark.maintain.stage import STAGE


def build_parser() -> argparse.ArgumentParser:
    """The job's command line."""
    return add_maintain_arguments(argparse.ArgumentParser(prog="maintain.py", description=STAGE.summary))


def main(argv: list[str] | None = None) -> int:
    """Runs the job; the exit code."""
    return run_maintain(build_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
