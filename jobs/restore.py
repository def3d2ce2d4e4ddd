"""spark-submit jobs/restore.py TABLE --before-run ID --yes --config conf/cluster.yml: take back a publish."""

from __future__ import annotations

import argparse
import sys

from vizrec_spark.app.restore import add_restore_arguments, run_restore


def build_parser() -> argparse.ArgumentParser:
    """The job's command line."""
    return add_restore_arguments(
        argparse.ArgumentParser(prog="restore.py", description="take back what a run has published")
    )


def main(argv: list[str] | None = None) -> int:
    """Shows and restores; the exit code."""
    return run_restore(build_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
