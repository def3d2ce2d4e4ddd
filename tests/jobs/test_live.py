"""`vizrec live`: somebody acts, a live list changes before one's eyes, and Ctrl-C ends everything."""

from __future__ import annotations

import json
import os
import re
import shutil
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
from vizrec_spark.config import load_config, save_config, setting
from vizrec_spark.demo.live import live_acts
from vizrec_spark.demo.truth import Truth
from vizrec_spark.errors import InputError


def children(pid: int) -> set[int]:
    """All processes below `pid`."""
    found, wanted = set(), [pid]
    while wanted:
        file = Path(f"/proc/{wanted.pop()}/task")
        for task in file.glob("*/children"):
            below = {int(text) for text in task.read_text().split()}
            found |= below
            wanted += below
    return found


def test_shoppers_act_lists_change_and_ctrl_c_ends_it(demo: DemoRun, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    shutil.copytree(demo.folder / "tables", folder / "tables")
    (folder / "landing").symlink_to(demo.folder / "landing")
    config = load_config(str(demo.folder / "demo.yml"), [setting("tables.root", str(folder / "tables"))])
    save_config(config, folder / "demo.yml")
    command = [str(Path(sys.executable).with_name("vizrec")), "live", "--folder", str(folder), "--port", "0"]
    command += ["--rate", "20", "--set", "serve.search=false", "--set", "serve.timeout_s=60"]
    output = tmp_path / "live.out"
    with output.open("wb") as out:
        live = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **SHORT_LIVED})
    below: set[int] = set()
    try:
        until = time.monotonic() + 300
        seen: dict[str, set[str]] = {}
        while not any(len(lists) > 1 for lists in seen.values()):
            assert live.poll() is None and time.monotonic() < until, output.read_text()[-3000:]
            time.sleep(0.5)
            below |= children(live.pid)
            found = re.search(r"Open (http://\S+) in", output.read_text())
            for file in (folder / "live" / "events").glob("*.json") if found is not None else ():
                user = json.loads(file.read_text().splitlines()[0])["user_id"]
                answer = offers(str(found and found[1]), user)
                if answer["source"] == "live":
                    seen.setdefault(user, set()).add(json.dumps(answer["items"]))
        assert len(below) >= 3  # stream, its JVM, service
        live.send_signal(signal.SIGINT)
        assert live.wait(timeout=120) == 0
    finally:
        if live.poll() is None:
            live.kill()
    until = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in below) and time.monotonic() < until:
        time.sleep(0.2)
    assert {pid for pid in below if Path(f"/proc/{pid}").exists()} == set()
    assert "stream: done" in (folder / "live" / "stream.log").read_text()


def offers(address: str, user: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address}/v1/recommendations?user_id={quote(user)}", timeout=60) as answer:
        return dict(json.load(answer))


def test_shoppers_act_as_their_known_taste_has_it(demo: DemoRun, tmp_path: Path) -> None:
    acts = live_acts(demo.folder / "landing", 3)
    drawn = [next(acts) for _ in range(400)]
    again = live_acts(demo.folder / "landing", 3)
    assert [next(again) for _ in range(400)] == drawn
    truth = Truth.read(demo.folder / "landing")
    matched = truth.match(pd.DataFrame(drawn))
    assert matched.look_match.mean() > 0.5
    with pytest.raises(InputError, match="generated"):
        next(live_acts(tmp_path, 3))
