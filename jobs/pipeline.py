"""spark-submit jobs/pipeline.py --config conf/local.yml: all stages, or some of them, in order."""

from __future__ import annotations

import argparse
import sys

from vizrec_spark.app.pipeline import add_pipeline_arguments, run_pipeline


def build_parser() -> argparse.ArgumentParser:
    """The job's command line."""
    return add_pipeline_arguments(
        argparse.ArgumentParser(prog="pipeline.py", description="run the whole pipeline")
    )


def main(argv: list[str] | None = None) -> int:
    """Runs the stages; the exit code."""
    return run_pipeline(build_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
