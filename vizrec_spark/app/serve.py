"""The HTTP service on the tables, composed of the service and the encoder of stage `embed`."""

from __future__ import annotations

import argparse
import os

from rich.console import Console

from vizrec_spark.app.runner import add_arguments, guarded
from vizrec_spark.config import load_config, setting
from vizrec_spark.errors import ConfigError


def add_serve_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """``--host``, ``--port``, and what every command takes."""
    parser.add_argument("--host", help="address to listen on, in place of serve.host")
    parser.add_argument("--port", type=int, help="port to listen on, in place of serve.port")
    return add_arguments(parser)


def run_serve(args: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT; the exit code."""

    def body(_: Console) -> None:
        given = {"serve.host": args.host, "serve.port": args.port}
        more = [setting(key, value) for key, value in given.items() if value is not None]
        config = load_config(args.config, [*args.overrides, *more])
        try:
            from vizrec_spark.serve.server import run_server
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"The service needs the package {error.name}: pip install 'vizrec-spark[serve]'."
            ) from None
        from vizrec_spark.app.shelf import PlainShelf
        from vizrec_spark.embed.resolve import published_runtime

        threads, shelf = config.embed.threads or os.cpu_count() or 1, PlainShelf(config.tables)
        run_server(config, lambda encoder_id: published_runtime(config.embed, encoder_id, threads, shelf))

    return guarded(body, args)
