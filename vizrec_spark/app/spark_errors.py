"""What an error of Spark or of the system says to a person: one of ours from a worker, a full disk, a closed store."""

from __future__ import annotations

import errno
import re

from vizrec_spark import errors
from vizrec_spark.errors import DiskSpaceError, StorageError, VizrecError

# The last line of a traceback; a message may go on in lines that begin at the margin.
_OURS_IN_A_TRACEBACK = re.compile(
    r"^vizrec_spark\.errors\.(?P<name>\w+): (?P<message>.+(?:\n(?!\s|$).+)*)", re.MULTILINE
)
_EXCEPTION = re.compile(r"(?:[\w$]+\.)+[\w$]*(?:Exception|Error): ")
# As the operating system, Hadoop and its connectors say it. A program that may not be run is no matter of a store.
_FULL, _CLOSED, _DENIED = (
    re.compile(rf"^(?!.*Cannot run program).*(?:{words}).*$", re.MULTILINE)
    for words in (
        "No space left on device|Disk quota exceeded",
        "Read-only file system|Mkdirs failed",
        "Permission denied|AccessControlException|AccessDenied|Status Code: 403",
    )
)
_UNREACHED = re.compile(
    r"^.*java\.net\.(?:Connect|UnknownHost|NoRouteToHost|SocketTimeout)Exception.*$", re.MULTILINE
)
# Executors that speak with one another; a line of a stack trace that only passes by there is none of these.
_LOST_EXECUTOR = re.compile(
    r"^.*(?:\b(?:FetchFailed|MetadataFetchFailed|ExecutorDead|BlockFetch)Exception\b|\bFetchFailed\(|ExecutorLostFailure"
    r"|at org\.apache\.spark\.network\.client\.TransportClientFactory\.).*$",
    re.MULTILINE,
)
# Spark's verdict on a task that has failed for good: what stands behind it, to the end of the line, is why.
_DIED = re.compile(r"ExecutorLostFailure \(.*|Python worker exited unexpectedly.*")
_KEPT = "tables hold their last whole version."


def understood(error: Exception) -> VizrecError | None:
    """The error of ours that `error`, one of Spark's, stands for; None where it is none that is known.

    Raised by this package in a Python worker, which Spark hands on as text; a disk that is full, Spark's own scratch
    included; a store that is closed for writing, or for this user, or out of reach; an executor that is lost.
    """
    text = str(error)
    if (ours := _raised_in_a_worker(text)) is not None:
        return ours
    if (found := _FULL.search(text)) is not None:
        return DiskSpaceError(
            f"A disk is full: {_sentence(found[0])}. Make room where `tables.root`, Spark's scratch "
            f"(`spark.local.dir`) and the temporary folder lie, and run again; {_KEPT}"
        )
    if (found := _CLOSED.search(text)) is not None:
        return StorageError(
            f"A folder cannot be written: {_sentence(found[0])}. Check that it is mounted for writing "
            f"(`tables.root`, `als.checkpoint_dir`, `spark.local.dir`); {_KEPT}"
        )
    if (found := _DENIED.search(text)) is not None:
        return StorageError(
            f"Access was denied: {_sentence(found[0])}. Check the credentials, and that this user, and the executors', "
            f"may read what is named there and, for a stage, write it; {_KEPT}"
        )
    if (found := _DIED.search(text)) is not None:
        return _lost(found[0])
    if (found := _UNREACHED.search(text)) is not None:
        if _LOST_EXECUTOR.search(text):
            return _lost(found[0])
        said = re.sub(r"^\W*(?:Caused by: )?", "", " ".join(found[0].split()))[:400].rstrip(".")
        return StorageError(
            f"A host cannot be reached: {said}. Check the addresses that the configuration names, and the network, "
            f"and run again; {_KEPT}"
        )
    return None


def _lost(line: str) -> VizrecError:
    return VizrecError(
        f"An executor was lost, and with it what it had worked out: {_sentence(line)}. Look why in the executors' logs "
        "and the cluster manager's: mostly it had too little memory (`spark.executor.memory`, "
        f"`spark.executor.memoryOverhead`). Then run again; {_KEPT}"
    )


def of_the_system(error: OSError) -> VizrecError | None:
    """The error of ours for a file or folder that cannot be used; None where the system does not say which, or why."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = error.filename or "where it lies cannot be told"
        return DiskSpaceError(
            f"A disk is full: {error.strerror} ({where}). Make room where the output, the tables and the temporary "
            f"folder lie, and run again; {_KEPT}"
        )
    if error.filename is None:
        return None
    return StorageError(
        f"{error.filename}: {error.strerror}. Check that the path is right and may be written; {_KEPT}"
    )


def _raised_in_a_worker(text: str) -> VizrecError | None:
    found = list(_OURS_IN_A_TRACEBACK.finditer(text))
    if not found:
        return None
    kind = getattr(errors, found[-1]["name"], None)
    if not (isinstance(kind, type) and issubclass(kind, VizrecError)):
        return None
    again = VizrecError(" ".join(found[-1]["message"].split()))
    again.exit_code = kind.exit_code
    return again


def _sentence(line: str) -> str:
    """What a line of a Java stack trace says, behind the last class of an exception in it."""
    return " ".join(_EXCEPTION.split(line)[-1].split())[:400].rstrip(".")
