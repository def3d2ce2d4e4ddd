"""Checkpoints of one run: where they lie while it lasts, and that they go with it, or with the next if it is killed."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from pyspark.sql import SparkSession

from vizrec_spark.stage import log
from vizrec_spark.tables.places import located

_CLAIM = "in-use.lock"


@contextmanager
def checkpoints(spark: SparkSession, folder: str) -> Iterator[None]:
    """While the body runs, the session's checkpoints go to a folder of its own below `folder`; then it is removed.

    Without a checkpoint directory MLlib silently ignores the interval, and the lineage of a long training overflows
    the stack. Spark itself never removes the folder. A frame that was checkpointed inside cannot be read afterwards.

    A run that is killed leaves its folder. Where `folder` is in a file system of this machine, the next run removes
    what such runs have left there (`remove_abandoned`). Elsewhere (HDFS, an object store) nobody can tell a dead run
    from one on another machine: give the store a rule that removes what is old.
    """
    spark.sparkContext.setCheckpointDir(folder)
    path, system = located(spark, str(spark.sparkContext.getCheckpointDir()))
    with ExitStack() as stack:
        if system.getUri().getScheme() == "file":
            own = Path(path.toUri().getPath())
            stack.enter_context(claimed(own))
            remove_abandoned(own.parent)
        stack.callback(system.delete, path, True)
        yield


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """While the body runs, a lock on a file in `folder` says that it is in use; the kernel drops it with the process.

    The lock is there as soon as the file is. Where the file system has no locks, the folder stays without one.
    """
    beside = folder.with_name(f".{folder.name}.lock")
    with beside.open("w") as file:
        if _locked(file):
            beside.rename(folder / _CLAIM)
        else:
            beside.unlink()
        yield


def remove_abandoned(parent: Path) -> None:
    """Removes the folders below `parent` that were `claimed` by a process that has died.

    Folders in use are left alone, by whichever process, and so is what was never claimed.
    """
    for claim in parent.glob(f"*/{_CLAIM}"):
        try:
            with claim.open("r+") as file:
                if _locked(file):
                    shutil.rmtree(claim.parent)
                    log.info("als: removed the checkpoints of a run that was killed, %s", claim.parent)
        except OSError as error:  # gone meanwhile, or not ours to remove
            log.debug("als: %s is left: %s", claim.parent, error)


def _locked(file: IO[str]) -> bool:
    """Whether this process has the lock of `file` now; it is let go of when the file is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
