"""The arguments of the embed job."""

from __future__ import annotations

import argparse

from vizrec_spark.app.runner import add_arguments


def add_embed_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """``--reembed``, and what every job takes."""
    add_arguments(parser)
    parser.add_argument(
        "--reembed",
        dest="overrides",
        action="append_const",
        const="embed.reembed=true",
        help="encode every picture anew, in place of the vectors that are there",
    )
    return parser
