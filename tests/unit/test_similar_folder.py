"""The folder of the shared plan: room on the disk, and what killed runs leave behind."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from vizrec_spark.errors import DiskSpaceError
from vizrec_spark.scratch import claimed
from vizrec_spark.similar.folder import make_file, shared_folder


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


def test_each_run_has_a_folder_of_its_own_that_goes_with_it_or_with_the_next(tmp_path: Path) -> None:
    killed, other = tmp_path / "vizrec-similar-killed", tmp_path / "something-else"
    for left in (killed, other):
        left.mkdir()
        with claimed(left):
            pass  # the claim stays, its lock goes
    with shared_folder(str(tmp_path / "new" / "place")) as own:
        assert own.parent == tmp_path / "new" / "place"
    with shared_folder(str(tmp_path)) as first, shared_folder(str(tmp_path)) as second:
        assert first.is_dir() and second.is_dir() and first != second
        assert not killed.exists() and other.is_dir()
    assert not first.exists() and not second.exists()
