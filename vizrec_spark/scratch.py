"""Scratch folders of one run on a local disk, which the next run removes where a run was killed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_CLAIM = "in-use.lock"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """While the body runs, a lock on a file in `folder` says that it is in use; the kernel drops it with the process.

    Where the file system has no locks the folder stays without a claim, and nobody takes it for abandoned.
    """
    # Locked under another name first: nobody may find the claim without its lock.
    new = folder / f"{_CLAIM}.new"
    with new.open("w") as file:
        json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
        file.flush()
        if _locked(file):
            new.rename(folder / _CLAIM)
        else:
            new.unlink()
        yield


def remove_abandoned(parent: Path, pattern: str = "*") -> list[Path]:
    """Removes the folders `pattern` below `parent` that a process of this host had `claimed` and left; returns them.

    Folders in use are left alone, by whichever process, and so is what was never claimed, or claimed on another host,
    beyond which a lock may not reach.
    """
    removed = []
    for claim in parent.glob(f"{pattern}/{_CLAIM}"):
        try:
            with claim.open("r+") as file:
                if json.load(file)["host"] == socket.gethostname() and _locked(file):
                    shutil.rmtree(claim.parent)
                    removed.append(claim.parent)
        except (OSError, ValueError, KeyError):  # gone meanwhile, or not ours to remove
            continue
    return removed


def _locked(file: IO[str]) -> bool:
    """Whether this process has the lock of `file` now; it is let go of when the file is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
