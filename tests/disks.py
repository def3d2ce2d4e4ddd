"""File systems of a size of their own, for tests of what a full or a closed one does."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """`folder`, which is made, as a file system of this size while the body runs."""
    folder.mkdir()
    if shutil.which("mount") is None:
        _missing("file systems cannot be mounted here")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        _missing(f"file systems may not be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:  # lazily, for a task may still hold a file
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _missing(why: str) -> NoReturn:
    """Where the tests are complete, this is a failure."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(why)
    pytest.skip(why)
