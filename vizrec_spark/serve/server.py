"""Runs the service until it is told to stop."""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import uvicorn

from vizrec_spark.config import Config
from vizrec_spark.errors import ConfigError
from vizrec_spark.serve.api import create_app
from vizrec_spark.serve.looks import EncoderLoader
from vizrec_spark.serve.metrics import Metrics
from vizrec_spark.serve.protocol import bounded_protocol
from vizrec_spark.serve.reload import Reloader
from vizrec_spark.serve.snapshot import Loader

log = logging.getLogger("vizrec")

_FILES = 256  # beside connections: listening descriptors, data files that are read, the log, the interpreter
_BACKLOG = 2048
_KEEP_ALIVE_S = 15
# libuv takes one connection up for each listening descriptor in a turn of the event loop. Under load a turn is long,
# and with one descriptor those who have connected would wait for seconds, neither heard nor refused.
_LISTENERS = 64
# A thread that reads tables must not keep the event loop waiting for longer than this.
_SWITCH_S = 0.001


class Server(uvicorn.Server):
    """uvicorn's, where SIGTERM and SIGINT are how it is told to stop: it ends as a service that has done its work."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but the signals are not raised again at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run_server(config: Config, load_encoder: EncoderLoader) -> None:
    """Loads the tables, listens and answers; returns after SIGTERM or SIGINT, when all that was begun is answered.

    `load_encoder` gives the encoder of an id. Raises: ConfigError, TableError before it listens.
    """
    serve, key = config.serve, _key(config)
    _allow_files(2 * serve.max_connections + _FILES)  # as many again are refused and heard out
    # Both cores of a small machine, taken for a reload, would be missed by those who wait for an answer.
    pa.set_cpu_count(1)
    sys.setswitchinterval(_SWITCH_S)
    metrics = Metrics()
    with _listening(serve.host, serve.port) as listener:
        reloader = Reloader(Loader(config, load_encoder), serve.reload_seconds, serve.live_seconds, metrics)
        app = create_app(config, reloader, key, metrics)
        server = Server(
            uvicorn.Config(
                app,
                http=bounded_protocol(app, serve.max_connections, serve.timeout_s),
                ws="none",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(serve.grace_s)),
            )
        )
        # What is there now stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        host, port = listener.getsockname()[:2]
        log.info("serve: listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
        listeners = [listener, *(listener.dup() for _ in range(_LISTENERS - 1))]
        server.run(sockets=listeners)  # the application's lifespan starts the reloader
    ended = reloader.stop(serve.grace_s)
    log.info("serve: stopped")
    if not ended:
        # A thread that is reading must not find the interpreter taken down around it.
        logging.shutdown()
        os._exit(0)


def _allow_files(wanted: int) -> None:
    """Raises the limit of open files, of which a connection is one, to `wanted` where it is less.

    Raises: ConfigError where the system does not let it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise ConfigError(
            f"serve.max_connections needs {wanted} open files, and the system allows {hard}: lower it, or raise the "
            "limit (ulimit -Hn)."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _key(config: Config) -> str | None:
    name = config.serve.api_key_variable
    if name is None:
        return None
    key = os.environ.get(name, "")
    if len(key) < 16:
        raise ConfigError(
            f"serve.api_key_variable = {name}: the environment has no such variable, or one of fewer than 16 "
            f"characters. Set it to a long random key: export {name}=$(openssl rand -hex 32)."
        )
    return key


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that is bound, so that a port which is taken is known before tables are read."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"serve.host = {host}, serve.port = {port}: cannot listen there ({error.strerror or error})."
        ) from None
    with listener:
        yield listener
