"""spark-submit jobs/encoders.py --config conf/local.yml [--prune]: which encoders there are; remove old ones."""

from __future__ import annotations

import argparse
import sys

from vizrec_spark.app.encoders import add_encoders_arguments, run_encoders


def build_parser() -> argparse.ArgumentParser:
    """The job's command line."""
    return add_encoders_arguments(
        argparse.ArgumentParser(prog="encoders.py", description="show the encoders, or remove old ones")
    )


def main(argv: list[str] | None = None) -> int:
    """Shows or prunes; the exit code."""
    return run_encoders(build_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
