"""The folder in which the shared plan keeps its files: one a run, and gone with it, even where the run was killed.

A run holds a lock on a file in its folder. The kernel lets go of it when the process ends, however it ends, so a folder
of this host whose lock can be had belongs to nobody, and the next run that looks there removes it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vizrec_spark.errors import DiskSpaceError
from vizrec_spark.stage import log

_PREFIX = "vizrec-similar-"
_OWNER = "owner.json"
_TOO_LARGE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def shared_folder(parent: str | None) -> Iterator[Path]:
    """A folder of this run's own in `parent`, or in the system's temporary folder; removed at the end.

    Folders there that killed runs of this host have left are removed first.
    """
    place = Path(parent or tempfile.gettempdir())
    place.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(place)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=place) as folder, _owned(Path(folder)):
        yield Path(folder)


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    # Locked under another name first: nobody may find it without its lock.
    new = folder / f"{_OWNER}.new"
    with new.open("w") as file:
        json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
        file.flush()
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks: such a folder is never taken for abandoned
            yield
            return
        new.rename(folder / _OWNER)
        yield


def _remove_abandoned(place: Path) -> None:
    for owner in place.glob(f"{_PREFIX}*/{_OWNER}"):
        try:
            with owner.open() as file:
                told = json.load(file)
                if told["host"] != socket.gethostname():  # a lock may not reach beyond its host
                    continue
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                log.info("similar: removing %s, which process %s has left behind", owner.parent, told["pid"])
                shutil.rmtree(owner.parent, ignore_errors=True)
        except (OSError, ValueError, KeyError):  # in use, not ours to read, or just being removed
            continue


def make_file(path: Path, size: int) -> None:
    """Makes a file of `size` bytes with its blocks: a process that writes to a mapped hole of a full disk is killed.

    Raises: DiskSpaceError when the disk, or what the user may have of it, has too little room.
    """
    free = shutil.disk_usage(path.parent).free
    told = (
        f"expected {size:,} bytes of room for {path.name} in {path.parent}, found {free:,}: name a roomier folder in "
        "similar.shared_dir, or set similar.plan to partitioned."
    )
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
