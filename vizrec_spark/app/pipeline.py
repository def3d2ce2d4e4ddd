"""Runs all stages in order, or a run of them."""

from __future__ import annotations

import argparse

from vizrec_spark.app.runner import add_arguments, guarded, run_stages
from vizrec_spark.app.stages import BY_NAME, PIPELINE
from vizrec_spark.errors import ConfigError


def add_pipeline_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Those of every job, and ``--from`` and ``--to`` to run a part."""
    names = list(BY_NAME)
    parser.add_argument("--from", dest="first", choices=names, default=names[0], help="first stage to run")
    parser.add_argument("--to", dest="last", choices=names, default=names[-1], help="last stage to run")
    return add_arguments(parser)


def run_pipeline(args: argparse.Namespace) -> int:
    """Runs the chosen stages; the exit code."""
    names = list(BY_NAME)
    first, last = names.index(args.first), names.index(args.last)
    if first > last:
        return guarded(lambda _: refuse_order(args.first, args.last), args)
    return run_stages(PIPELINE[first : last + 1], args)


def refuse_order(first: str, last: str) -> None:
    """Raises: ConfigError, for `last` comes before `first`."""
    raise ConfigError(
        f"--from {first} --to {last}: stage {last} comes before {first}; name them the other way round."
    )
