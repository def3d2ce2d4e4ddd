"""The demo alive: stream and service on its tables, and simulated shoppers who go on acting."""

from __future__ import annotations

import argparse
import fcntl
import json
import math
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from rich.console import Console

from vizrec_spark.app.runner import add_overrides, guarded
from vizrec_spark.config import load_config, save_config, setting
from vizrec_spark.demo.live import Act, live_acts
from vizrec_spark.errors import InputError, VizrecError
from vizrec_spark.stopping import Told, told_to_stop

_LISTENING = re.compile(r"listening on (http://\S+)")
_READING = re.compile(r"stream: reading")
_POLL_S = 0.2
_END_S = 90.0
_LAST_WRITES_S = 20.0
_FILE_S = 1.0  # a file of events so often


def add_live_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Where the demo is, and how busy its shoppers are."""
    parser.add_argument(
        "--folder", default="work/demo", metavar="DIR", help="of `vizrec demo` (default: %(default)s)"
    )
    parser.add_argument("--rate", type=_rate, default=5.0, help="events a second (default: %(default)s)")
    parser.add_argument("--port", type=int, help="port to listen on, in place of serve.port")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another seed, other acts")
    add_overrides(parser)
    return parser


def run_live(args: argparse.Namespace) -> int:
    """Runs until SIGINT, SIGTERM or SIGHUP; the exit code, which is 0 then."""

    def body(console: Console) -> None:
        folder = Path(args.folder)
        demo, tables = folder / "demo.yml", folder / "tables"
        if not (demo.is_file() and tables.is_dir()):
            raise InputError(f"{demo} or {tables} is missing: run `vizrec demo --folder {folder}` first.")
        with _alone(folder) as lock:
            _live(args, folder, lock)

    return guarded(body, args)


def _live(args: argparse.Namespace, folder: Path, lock: int) -> None:
    place = folder / "live"
    events = place / "events"
    acts = live_acts(folder / "landing", args.seed)
    # A copy, for what simulated shoppers do is not to become part of the demo's own log.
    _remove(place)
    shutil.copytree(folder / "tables", place / "tables")
    events.mkdir()
    more = {
        "tables.root": str(place / "tables"),
        "stream.path": str(events),
        "stream.checkpoint": str(place / "checkpoint"),
    }
    pairs = [*(setting(key, value) for key, value in more.items()), *args.overrides]
    config = save_config(load_config(str(folder / "demo.yml"), pairs), place / "live.yml")
    port = [] if args.port is None else ["--port", str(args.port)]
    with told_to_stop() as stop, ExitStack() as running:
        stream = running.enter_context(_command("stream", config, place, lock))
        serve = running.enter_context(_command("serve", config, place, lock, *port))
        both = (stream, serve)
        found = _said(serve, _LISTENING, stop, both)
        if found is not None:
            _print(f"Open {found[1]} in a browser. Ctrl-C ends it.")
            _print(f"The stream is starting, which takes a minute or two; logs: {stream.log}, {serve.log}")
        if _said(stream, _READING, stop, both) is not None:
            _print(f"Shoppers act {args.rate:g} times a second.")
            _act(acts, args.rate, events, stop, both)
        _print("Ending ...")


def _remove(place: Path) -> None:
    """Removes a folder in which the JVM of a killed run may write for some seconds more.

    Raises: OSError where it does not go.
    """
    until = time.monotonic() + _LAST_WRITES_S
    while place.exists():
        shutil.rmtree(place, ignore_errors=time.monotonic() < until)
        time.sleep(_POLL_S)


class _Running:
    """A command in a process of its own."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name, self.process, self.log = name, process, log

    def require_alive(self) -> None:
        """Raises: VizrecError with the end of its log when it has ended."""
        if self.process.poll() is not None:
            tail = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-8:]
            raise VizrecError(
                f"vizrec {self.name} ended with code {self.process.returncode}; the end of {self.log}:\n"
                + "\n".join(tail)
            )

    def end(self) -> None:
        """Tells it to stop, and waits until it has."""
        self.process.terminate()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdin is not None:  # which it would take as another word to stop
            self.process.stdin.close()


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """The descriptor of a lock that this process has, and the commands that inherit it, until the last has ended.

    Their JVMs, which end with them, do not have it. Raises: InputError where others have it.
    """
    with (folder / "live.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"`vizrec live` runs on {folder} already, or what it has started is still ending: end it "
                "(Ctrl-C where it runs), or wait a minute; `vizrec demo --folder DIR` makes another one."
            ) from None
        yield lock.fileno()


@contextmanager
def _command(name: str, config: Path, place: Path, lock: int, *more: str) -> Iterator[_Running]:
    log = place / f"{name}.log"
    line = [sys.executable, "-m", "vizrec_spark.app.kept", name, "--config", str(config), *more]
    with log.open("wb") as out:
        # Apart from the terminal: Ctrl-C comes to this process, which tells the others in its turn.
        process = subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True, pass_fds=[lock]
        )
    running = _Running(name, process, log)
    try:
        yield running
    finally:
        running.end()


def _said(
    command: _Running, pattern: re.Pattern[str], stop: Told, running: tuple[_Running, ...]
) -> re.Match[str] | None:
    """Where the pattern is found in the command's log, as soon as it is; None when told to stop before."""
    while not stop.wait(_POLL_S):
        found = pattern.search(command.log.read_text(encoding="utf-8", errors="replace"))
        if found is not None:
            return found
        for one in running:
            one.require_alive()
    return None


def _act(acts: Iterator[Act], rate: float, events: Path, stop: Told, running: tuple[_Running, ...]) -> None:
    """Writes files of events, each of which appears whole."""
    run, began, sent = secrets.token_hex(4), time.monotonic(), 0
    while not stop.wait(_FILE_S):
        for one in running:
            one.require_alive()
        due = int((time.monotonic() - began) * rate) - sent
        now = datetime.now(UTC).isoformat()
        lines = [
            json.dumps({"event_id": f"{run}-{sent + n}", **act._asdict(), "timestamp": now})
            for n, act in enumerate(islice(acts, due))
        ]
        if lines:
            draft = events / f".{run}.draft"
            draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
            draft.rename(events / f"{run}-{sent:09d}.json")
            sent += len(lines)


def _rate(text: str) -> float:
    rate = float(text)
    if not (math.isfinite(rate) and rate > 0):
        raise argparse.ArgumentTypeError("must be a number above 0")
    return rate


def _print(text: str) -> None:
    Console(soft_wrap=True, highlight=False).print(text, markup=False)
    sys.stdout.flush()
