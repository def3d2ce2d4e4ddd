"""`vizrec live`: somebody acts, a live list changes before one's eyes, and Ctrl-C ends everything."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pytest

from tests.jobs.conftest import SHORT_LIVED, DemoRun
from vizrec_spark.app.cli import main
from vizrec_spark.demo.live import live_acts
from vizrec_spark.demo.truth import Truth
from vizrec_spark.errors import InputError


def children(pid: int) -> set[int]:
    """All processes below `pid`."""
    found, wanted = set(), [pid]
    while wanted:
        file = Path(f"/proc/{wanted.pop()}/task")
        for task in file.glob("*/children"):
            try:
                below = {int(text) for text in task.read_text().split()}
            except OSError:  # a thread that has ended meanwhile
                continue
            found |= below
            wanted += below
    return found


def command_line(pid: int) -> bytes:
    """Its words, each with a null behind it; nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def is_jvm(pid: int) -> bool:
    return command_line(pid).partition(b"\0")[0].endswith(b"java")


def began(pid: int) -> str | None:
    """When the process began, None where there is none, or one that only waits to be asked for its exit code. A number
    is given to others again, also to their threads, and to kill a thread is to kill its process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if stat[0] == "Z" else stat[19]


class Below:
    """The processes that were seen below one."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.seen: dict[int, str] = {}

    def look(self) -> None:
        """Sees those that are there now."""
        self.seen |= {pid: at for pid in children(self._pid) if (at := began(pid)) is not None}

    def alive(self) -> set[int]:
        """Those that still run."""
        return {pid for pid, at in self.seen.items() if began(pid) == at}

    def kill(self) -> None:
        """Kills them."""
        self.look()
        for pid in self.alive():
            os.kill(pid, signal.SIGKILL)


def test_shoppers_act_lists_change_and_ctrl_c_ends_it(demo: DemoRun, tmp_path: Path) -> None:
    live_folder = demo.folder / "live"
    command = [
        str(Path(sys.executable).with_name("vizrec")),
        "live",
        "--folder",
        str(demo.folder),
        "--port",
        "0",
    ]
    # The service shares two cores with a JVM that starts.
    command += ["--rate", "20", "--set", "serve.search=false", "--set", "serve.timeout_s=60"]
    command += ["--set", "serve.max_delay_ms=10000"]
    output = tmp_path / "live.out"
    with output.open("wb") as out:
        live = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **SHORT_LIVED})
    below = Below(live.pid)
    try:
        until = time.monotonic() + 400
        seen: dict[str, set[str]] = {}
        while not any(len(lists) > 1 for lists in seen.values()):
            assert live.poll() is None and time.monotonic() < until, output.read_text()[-3000:]
            time.sleep(0.5)
            below.look()
            found = re.search(r"Open (http://\S+) in", output.read_text())
            for file in sorted((live_folder / "events").glob("*.json"))[:10] if found is not None else ():
                user = json.loads(file.read_text().splitlines()[0])["user_id"]
                answer = offers(str(found and found[1]), user)
                if answer["source"] == "live":
                    seen.setdefault(user, set()).add(json.dumps(answer["items"]))
        assert len(below.seen) >= 3  # stream, its JVM, service
        live.send_signal(
            signal.SIGINT if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN else signal.SIGTERM
        )
        assert live.wait(timeout=120) == 0
        until = time.monotonic() + 20
        while below.alive() and time.monotonic() < until:
            time.sleep(0.2)
        assert below.alive() == set()
    finally:
        below.kill()
        live.kill()
        live.wait()
    assert "stream: done" in (live_folder / "stream.log").read_text()
    assert not (demo.folder / "tables" / "live_events").exists()  # the demo's own are as they were


def test_one_at_a_time_and_what_is_left_of_a_killed_one_ends(demo: DemoRun, tmp_path: Path) -> None:
    arguments = ["live", "--folder", str(demo.folder), "--port", "0", "--set", "serve.search=false"]
    command = [str(Path(sys.executable).with_name("vizrec")), *arguments]
    output = tmp_path / "live.out"

    def refused() -> bool:
        again = subprocess.run(command, capture_output=True, text=True, timeout=120)
        told = " ".join(again.stderr.split())
        return again.returncode == InputError.exit_code and "still ending" in told

    with output.open("wb") as out:
        live = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **SHORT_LIVED})
    below = Below(live.pid)
    try:
        until = time.monotonic() + 200
        while "Open http" not in output.read_text() or not any(map(is_jvm, children(live.pid))):
            assert live.poll() is None and time.monotonic() < until, output.read_text()[-3000:]
            time.sleep(0.2)
            below.look()
        assert refused()
        [serve] = [pid for pid in children(live.pid) if b"\0serve\0" in command_line(pid)]
        os.kill(serve, signal.SIGSTOP)
        below.look()
        live.kill()
        live.wait()
        assert refused()  # the tables are still in use
        os.kill(serve, signal.SIGCONT)
        until = time.monotonic() + 90
        while below.alive() and time.monotonic() < until:
            time.sleep(0.2)
        assert below.alive() == set()
        with (demo.folder / "live.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        below.kill()
        live.kill()
        live.wait()


def offers(address: str, user: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address}/v1/recommendations?user_id={quote(user)}", timeout=60) as answer:
        return dict(json.load(answer))


def test_shoppers_act_as_their_known_taste_has_it(demo: DemoRun, tmp_path: Path) -> None:
    acts = live_acts(demo.folder / "landing", 3)
    drawn = [next(acts) for _ in range(400)]
    again, other = (live_acts(demo.folder / "landing", seed) for seed in (3, 4))
    assert [next(again) for _ in range(400)] == drawn != [next(other) for _ in range(400)]
    truth = Truth.read(demo.folder / "landing")
    matched, (by_chance, _) = truth.match(pd.DataFrame(drawn)), truth.chance()
    assert matched.look_match.mean() > 2 * by_chance
    with pytest.raises(InputError, match="generated"):
        live_acts(tmp_path, 3)


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf"])
def test_a_rate_that_is_none_is_refused(rate: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["live", f"--rate={rate}"])
    assert "must be a number above 0" in capsys.readouterr().err
