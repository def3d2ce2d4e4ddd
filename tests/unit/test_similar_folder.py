"""The folder of the shared plan: room on the disk, and what killed runs leave behind."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from vizrec_spark.errors import DiskSpaceError
from vizrec_spark.similar.folder import make_file, shared_folder

HOLDS = """
import sys, time
from vizrec_spark.similar.folder import shared_folder
with shared_folder(sys.argv[1]) as folder:
    (folder / "vectors.f32").write_bytes(b"1")
    print(folder, flush=True)
    time.sleep(600)
"""


def test_a_file_has_its_blocks_or_there_is_a_named_error(tmp_path: Path) -> None:
    make_file(tmp_path / "made", 1_000_000)
    made = (tmp_path / "made").stat()
    assert made.st_size == 1_000_000 and made.st_blocks * 512 >= 1_000_000
    make_file(tmp_path / "none", 0)
    with pytest.raises(DiskSpaceError, match=r"similar\.shared_dir"):
        make_file(tmp_path / "larger_than_the_disk", 2**60)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DiskSpaceError, match="expected 200,000 bytes"):
            make_file(tmp_path / "larger_than_allowed", 200_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_folder_of_a_killed_run_goes_with_the_next_run(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        left = Path(run.stdout.readline().strip())
        with shared_folder(str(tmp_path)) as own:
            assert (left / "vectors.f32").exists() and own != left  # it still runs
        run.kill()
    elsewhere = tmp_path / "vizrec-similar-elsewhere"
    elsewhere.mkdir()
    (elsewhere / "in-use.lock").write_text(json.dumps({"host": "another", "pid": 1}))
    with shared_folder(str(tmp_path)) as own:
        assert sorted(tmp_path.iterdir()) == sorted([own, elsewhere])
    assert list(tmp_path.iterdir()) == [elsewhere]
