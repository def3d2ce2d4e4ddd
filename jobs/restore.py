"""spark-submit jobs/restore.py RUN --config conf/local.yml [--yes]: take back what a run has published."""

from __future__ import annotations

import argparse
import sys

from vizrec_spark.app.restore import SUMMARY, add_restore_arguments, run_restore


def build_parser() -> argparse.ArgumentParser:
    """The job's command line."""
    return add_restore_arguments(argparse.ArgumentParser(prog="restore.py", description=SUMMARY))


def main(argv: list[str] | None = None) -> int:
    """Shows or restores; the exit code."""
    return run_restore(build_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
