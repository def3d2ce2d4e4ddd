"""Tests that want a file system of their own are not passed over in silence where all tests are to be run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.disks import small_disk


@pytest.mark.parametrize("why", ["no such program", "not allowed"])
@pytest.mark.parametrize(("ci", "ends"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_in_ci_a_disk_that_cannot_be_mounted_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ci: str, ends: type[BaseException], why: str
) -> None:
    refused = subprocess.CompletedProcess([], 32, "", "mount: permission denied")
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr("shutil.which", lambda _: None if why == "no such program" else "/bin/mount")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: refused)
    with (
        pytest.raises(ends, match=r"cannot be mounted|permission denied"),
        small_disk(tmp_path / "disk", megabytes=1),
    ):
        raise AssertionError("there is no disk")
