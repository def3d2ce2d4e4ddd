"""Scratch folders of one run on a local disk, which the next run removes where a run was killed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from vizrec_spark.errors import DiskSpaceError

_CLAIM = "in-use.lock"
_TOO_LARGE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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


@contextmanager
def run_folder(parent: str | None, prefix: str, removed: Callable[[Path], None]) -> Iterator[Path]:
    """A folder of this run's own in `parent`, or in the system's temporary folder; removed at the end.

    Folders of this prefix that killed runs of this host have left there go first; `removed` gets each.
    """
    place = Path(parent or tempfile.gettempdir())
    place.mkdir(parents=True, exist_ok=True)
    for left in remove_abandoned(place, f"{prefix}*"):
        removed(left)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=place) as folder, claimed(Path(folder)):
        yield Path(folder)


def make_file(path: Path, size: int, remedy: str) -> None:
    """Makes a file of `size` bytes with its blocks: a process that writes to a mapped hole of a full disk is killed.

    Raises: DiskSpaceError, which says `remedy`, when the disk, or what the user may have of it, has too little room.
    """
    free = shutil.disk_usage(path.parent).free
    told = f"expected {size:,} bytes of room for {path.name} in {path.parent}, found {free:,}: {remedy}."
    if size > free:  # looked at first, because making the file would fill the disk before it fails
        raise DiskSpaceError(told)
    with path.open("wb") as file:
        if not size:
            return
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno in _TOO_LARGE:
                raise DiskSpaceError(told) from error
            file.truncate(size)  # a file system that cannot set blocks aside


def _locked(file: IO[str]) -> bool:
    """Whether this process has the lock of `file` now; it is let go of when the file is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
