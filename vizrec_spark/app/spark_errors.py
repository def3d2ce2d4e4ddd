"""What an error that Spark raised says to a person: one of ours from a worker, a full disk, a store that is closed."""

from __future__ import annotations

import re

from vizrec_spark import errors
from vizrec_spark.errors import DiskSpaceError, StorageError, VizrecError

# The last line of a traceback; a message may go on in lines that begin at the margin.
_OURS_IN_A_TRACEBACK = re.compile(
    r"^vizrec_spark\.errors\.(?P<name>\w+): (?P<message>.+(?:\n(?!\s|$).+)*)", re.MULTILINE
)
# As the operating system and Hadoop say it; the line tells which file it was about, where that is known.
_FULL = re.compile(r"^.*(?:No space left on device|Disk quota exceeded).*$", re.MULTILINE)
_CLOSED = re.compile(
    r"^.*(?:Read-only file system|Permission denied|AccessControlException|AccessDenied|Mkdirs failed).*$",
    re.MULTILINE,
)
_CLASS = re.compile(r"(?:[\w$]+\.)+[\w$]+: ")


def understood(error: Exception) -> VizrecError | None:
    """The error of ours that `error`, one of Spark's, stands for; None where it is none that is known.

    Raised by this package in a Python worker, which Spark hands on as text; a disk that is full, Spark's own scratch
    included; a store or folder that cannot be written.
    """
    text = str(error)
    if (ours := _raised_in_a_worker(text)) is not None:
        return ours
    if (found := _FULL.search(text)) is not None:
        return DiskSpaceError(
            f"A disk is full: {_sentence(found[0])}. Make room where `tables.root`, Spark's scratch "
            "(`spark.local.dir`) and the temporary folder lie, and run again; tables hold their last whole version."
        )
    if (found := _CLOSED.search(text)) is not None:
        return StorageError(
            f"A folder cannot be written: {_sentence(found[0])}. Check that it is mounted for writing and that this "
            "user, and the executors', may write there (`tables.root`, `als.checkpoint_dir`, `spark.local.dir`); "
            "tables hold their last whole version."
        )
    return None


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
    return " ".join(_CLASS.split(line)[-1].split())[:400].rstrip(".")
