"""Where the shared plan keeps its files: a folder of each run, which goes with it, or with the next if it is killed."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vizrec_spark.errors import DiskSpaceError
from vizrec_spark.scratch import claimed, remove_abandoned
from vizrec_spark.stage import log

_PREFIX = "vizrec-similar-"
_TOO_LARGE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def shared_folder(parent: str | None) -> Iterator[Path]:
    """A folder of this run's own in `parent`, or in the system's temporary folder; removed at the end.

    Folders there that killed runs of this host have left are removed first.
    """
    place = Path(parent or tempfile.gettempdir())
    place.mkdir(parents=True, exist_ok=True)
    for left in remove_abandoned(place, f"{_PREFIX}*"):
        log.info("similar: removed the files of a run that was killed, %s", left)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=place) as folder, claimed(Path(folder)):
        yield Path(folder)


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
