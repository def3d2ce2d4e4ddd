"""What the streaming benchmark samples while it soaks a job."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.soak import Samples, in_use, memory


def test_it_hears_what_the_log_says(tmp_path: Path) -> None:
    log, folder = tmp_path / "log", tmp_path / "lists"
    (folder / "deeper").mkdir(parents=True)
    (folder / "deeper" / "file").write_bytes(b"x" * (3 << 20))
    log.write_text(
        "INFO     stream: batch 3: 120 ids are remembered; 0 more came again and were left out\n"
        "INFO     stream: upkeep is left for later: another run\n"
        "INFO     stream: batch 4: 14"
    )
    samples = Samples(os.getpid(), log, folder, 20.0)
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
    assert found["resident_mib_most"] > 0


def test_growth_is_what_is_in_use_in_the_end_over_a_quarter_of_it(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    samples = Samples(os.getpid(), tmp_path / "log", tmp_path, 20.0)
    assert samples.figures()["memory_growth"] is None
    samples.take()
    [one] = samples.taken
    assert one.heap is None  # the first quarter is not over
    # What is resident grows as garbage is left to lie, and counts for nothing.
    held = {2.0: None, 5.0: 180.0, 10.0: 300.0, 15.0: 210.0, 19.0: None, 20.0: 200.0}
    samples.taken = [
        replace(one, minute=minute, jvm=100 * minute, heap=mib, python=20.0) for minute, mib in held.items()
    ]
    assert samples.figures()["memory_growth"] == pytest.approx(220 / 200)


@pytest.mark.parametrize(
    "told",
    [
        " garbage-first heap   total 2097152K, used 921600K [0x0000, 0x0000)\n region size 1024K, 9 young (9K)",
        " garbage-first heap   total reserved 2097152K, committed 1048576K, used 921600K [0x00, 0x00)",
        " def new generation   total 9K, used 1600K [0x)\n tenured generation   total 9K, used 920000K [0x)",
        " PSYoungGen      total 9K, used 1600K [0x)\n ParOldGen       total 9K, used 920000K [0x)",
    ],
)
def test_what_a_jvm_has_in_use(told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As each collector of a JVM tells it, without what classes take."""
    jcmd = tmp_path / "jcmd"
    jcmd.write_text(f"#!/bin/sh\ncat <<'end'\n{told}\n Metaspace       used 77K, committed 78K\nend\n")
    jcmd.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert in_use(1) == 900.0


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
