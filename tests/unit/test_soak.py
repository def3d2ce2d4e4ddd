"""What the streaming benchmark samples while it soaks a job."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.soak import Samples, memory


def test_it_hears_what_the_log_says(tmp_path: Path) -> None:
    log, folder = tmp_path / "log", tmp_path / "lists"
    (folder / "deeper").mkdir(parents=True)
    (folder / "deeper" / "file").write_bytes(b"x" * (3 << 20))
    log.write_text(
        "INFO     stream: batch 3: 120 ids are remembered; 0 more came again and were left out\n"
        "INFO     stream: upkeep is left for later: another run\n"
        "INFO     stream: batch 4: 14"
    )
    samples = Samples(os.getpid(), log, folder)
    samples.take()
    with log.open("a") as more:
        more.write("7 ids are remembered; 2 more came again and were left out\n")
        more.write("WARNING  stream: upkeep failed and is left for later\nTraceback ...\n")
    samples.take()
    (folder / "deeper" / "file").unlink()
    samples.take()
    assert [(one.ids, one.later, one.failed) for one in samples.taken] == [(120, 1, 0), *[(147, 1, 1)] * 2]
    found = samples.figures()
    assert (found["state_rows_most"], found["upkeep_failed"]) == (147, 1)
    assert found["live_folder_mib_most"] == pytest.approx(3.0, abs=0.1)
    assert found["memory_mib_last"] > 0


def test_growth_is_the_last_quarter_over_the_second(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    samples = Samples(os.getpid(), tmp_path / "log", tmp_path)
    assert samples.figures()["memory_growth"] is None
    samples.take()
    [one] = samples.taken
    # In 20 minutes: from 5 to 10 it is 200, in the last 5 it is 230, and what is before and between counts for nothing.
    held = {2.0: 50.0, 6.0: 190.0, 10.0: 210.0, 12.0: 900.0, 15.0: 900.0, 16.0: 220.0, 20.0: 240.0}
    samples.taken = [replace(one, minute=minute, jvm=mib - 20, python=20) for minute, mib in held.items()]
    assert samples.figures()["memory_growth"] == pytest.approx(230 / 200)


def test_memory_is_of_a_process_and_all_below(tmp_path: Path) -> None:
    """A process that is called java is a JVM's."""
    java = tmp_path / "java"
    java.symlink_to(sys.executable)
    holds = "x = bytearray({} << 20); input()"
    below = [str(java), "-c", holds.format(40)]
    line = [sys.executable, "-c", f"import subprocess\nsubprocess.Popen({below!r})\n{holds.format(80)}"]
    with subprocess.Popen(line, stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        until = time.monotonic() + 60
        while not ((found := memory(child.pid))[0] > 40 and found[1] > 80) and time.monotonic() < until:
            time.sleep(0.05)
        child.stdin.write(b"\n\n")
    assert 40 < found[0] < 80 < found[1] < 120
