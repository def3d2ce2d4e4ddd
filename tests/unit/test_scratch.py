"""Scratch folders: those of killed runs go with the next run, those in use and those of others stay."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from vizrec_spark.scratch import claimed, remove_abandoned

OTHER_RUN = """
import sys, time
from pathlib import Path
from vizrec_spark.scratch import claimed
with claimed(Path(sys.argv[1])):
    print("claimed", flush=True)
    time.sleep(600)
"""


def folder(place: Path, name: str) -> Path:
    """A folder with a file in it."""
    made = place / name
    (made / "rdd-7").mkdir(parents=True)
    (made / "rdd-7" / "part-00000").write_bytes(b"rows")
    return made


def test_a_folder_goes_when_its_process_was_killed_and_not_before(tmp_path: Path) -> None:
    theirs, unclaimed, elsewhere = (folder(tmp_path, name) for name in ("theirs", "unclaimed", "elsewhere"))
    (elsewhere / "in-use.lock").write_text(json.dumps({"host": "another", "pid": 1}))
    command = [sys.executable, "-c", OTHER_RUN, str(theirs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "claimed\n"
        assert remove_abandoned(tmp_path) == [], "its run goes on"
        process.kill()
        process.wait()
    assert theirs.is_dir(), "nobody has looked"
    assert remove_abandoned(tmp_path, "un*") == [] == remove_abandoned(tmp_path / "missing")
    assert remove_abandoned(tmp_path) == [theirs] and not theirs.exists()
    assert unclaimed.is_dir() and elsewhere.is_dir(), "never claimed, or where no lock of this host reaches"


def test_a_claim_holds_against_ones_own_process(tmp_path: Path) -> None:
    mine = folder(tmp_path, "mine")
    with claimed(mine):
        assert remove_abandoned(tmp_path) == [] and mine.is_dir()
    assert remove_abandoned(tmp_path) == [mine]
