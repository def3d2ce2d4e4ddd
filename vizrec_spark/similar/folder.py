"""Where the shared plan keeps its files: a folder of each run, which goes with it, or with the next if it is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vizrec_spark import scratch
from vizrec_spark.scratch import run_folder
from vizrec_spark.stage import log

_PREFIX = "vizrec-similar-"


@contextmanager
def shared_folder(parent: str | None) -> Iterator[Path]:
    """A folder of this run's own in `parent`, or in the system's temporary folder; removed at the end.

    Folders there that killed runs of this host have left are removed first.
    """
    with run_folder(parent, _PREFIX, _removed) as folder:
        yield folder


def _removed(left: Path) -> None:
    log.info("similar: removed the files of a run that was killed, %s", left)


def make_file(path: Path, size: int) -> None:
    """`scratch.make_file`. Raises: DiskSpaceError."""
    scratch.make_file(
        path, size, "name a roomier folder in similar.shared_dir, or set similar.plan to partitioned"
    )
