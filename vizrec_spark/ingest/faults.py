"""Whether an error of Spark says that a file of the input is at fault, or that something beside it failed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JJavaError

from vizrec_spark.errors import InputError

# Judged by the innermost cause alone: a reader of Parquet that meets a lost connection wraps it in an error of its own.
_NOT_AS_IT_SHOULD_BE = re.compile(
    r"parquet|fasterxml\.jackson|univocity|xerial\.snappy|luben\.zstd|^java\.nio\.charset\.|^java\.util\.zip\."
    r"|SchemaColumnConvertNotSupportedException$|ChecksumException$|UnsupportedEncodingException$"
)
_MISSING = re.compile(r"(?:FileNotFound|NoSuchFile|NotDirectory|UnsupportedFileSystem)Exception$")
# As zlib and Hadoop's readers of compressed files say it, in exceptions that also stand for a lost connection.
_BADLY_COMPRESSED = re.compile(
    r"Unexpected end of input stream|not a gzip file|incorrect (?:header|data|length) check|invalid (?:block|stored|"
    r"code|bit|distance|literal|window)|bad block header|CRC error"
)
# Java says with FileNotFoundException whatever the system answers when a file is opened, and adds the answer.
_ANOTHER_ANSWER = re.compile(r"\((?!No such file|Is a directory|Not a directory)[^()]+\)$")


def says_the_input(error: Py4JJavaError) -> bool:
    """Whether `error` says that a file is missing, that there is no reader of its file system, or that it is not of the
    form that was asked for. Full disks, refused access, lost executors and stores out of reach are none of these."""
    chain = _causes(error)
    kind, message = chain[-1]
    if _MISSING.search(kind):
        return _ANOTHER_ANSWER.search(message) is None
    if _NOT_AS_IT_SHOULD_BE.search(kind) or _BADLY_COMPRESSED.search(message):
        return True
    if kind == "java.lang.ClassNotFoundException":
        return "FileSystem" in message  # a connector that Spark does not have
    # What a reader stumbles over in bytes that are none of its format; an IllegalStateException is of a closed client.
    in_a_file = any("FAILED_READ_FILE" in text for _, text in chain)
    return (
        in_a_file and re.fullmatch(r"java\.lang\.(?!IllegalState|Interrupted)\w*Exception", kind) is not None
    )


def last_cause(error: Py4JJavaError) -> str:
    """The innermost cause in one line."""
    kind, message = _causes(error)[-1]
    return f"{kind.rpartition('.')[2]}: {message[:400]}"


@contextmanager
def readable_input() -> Iterator[None]:
    """A landing file that Spark cannot read on, found before or while rows flow, becomes an InputError.

    What is no fault of the file goes through as it is (`says_the_input`), for it may be over when it is tried again.
    """
    try:
        yield
    except Py4JJavaError as error:
        texts = [message for _, message in _causes(error)]
        first = next((text for text in texts if "FAILED_READ_FILE" in text), None)
        if first is None or not says_the_input(error):
            raise
        last = texts[-1] if texts[-1] not in first else ""
        raise InputError(f"{first[first.index('[') :][:400]} {last[:400]}".rstrip()) from error


def _causes(error: Py4JJavaError) -> list[tuple[str, str]]:
    """Class and message of each cause, the outermost first."""
    found, cause = [], error.java_exception
    while cause is not None:
        found.append((str(cause.getClass().getName()), " ".join((cause.getMessage() or "").split())))
        cause = cause.getCause()
    return found
