"""Whether an error of Spark says that a file of the input is at fault, or that something beside it failed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JJavaError

from vizrec_spark.errors import InputError

# What a reader says of bytes that are none of its format. Judged by the innermost cause alone: a reader of Parquet that
# meets a lost connection wraps it in an error of its own.
_NOT_AS_IT_SHOULD_BE = re.compile(
    r"parquet|fasterxml\.jackson|univocity|xerial\.snappy|luben\.zstd|^java\.nio\.charset\.|^java\.util\.zip\."
    r"|SchemaColumnConvertNotSupportedException$|ChecksumException$|UnsupportedEncodingException$"
)
_MISSING = re.compile(r"(?:FileNotFound|NoSuchFile|NotDirectory|UnsupportedFileSystem)Exception$")
# As zlib, bzip2, LZ4, Snappy and Hadoop's readers of compressed files say it.
_BADLY_COMPRESSED = re.compile(
    r"Unexpected end of (?:input stream|block in input stream)|Unexpected end of stream(?! on )|not a gzip file"
    r"|incorrect (?:header|data|length) check|invalid (?:block|stored|code|bit|distance|literal|window)"
    r"|bad block header|\bCRC (?:error|failure)|stored gzip size|gzip data not compressed|unknown gzip format"
    r"|block overrun|stream corrupted|not BZip2 formatted|FAILED_TO_UNCOMPRESS|Reached the end of stream",
    re.IGNORECASE,
)
# Java says with FileNotFoundException whatever the system answers when a file is opened, and adds the answer; S3A says
# first that there is none, and ends with the path, which may have parentheses.
_ANOTHER_ANSWER = re.compile(
    r"^(?!No such file|File does not exist|Path does not exist).*"
    r"\((?!No such file|Is a directory|Not a directory)[^()]+\)$"
)

# While a file is read, everything else is the file's fault but these: networks, clients of stores, the cluster, the
# process, the system.
_BESIDE_THE_FILE = re.compile(
    r"^(?:java|javax)\.net\.|^java\.security\.|^javax\.security\.|^java\.nio\.channels\.|^java\.util\.concurrent\."
    r"|^java\.lang\.\w*Error$|^java\.lang\.(?:IllegalState|Interrupted|Security)Exception$|^java\.nio\.file\.AccessDenied"
    r"|Interrupted\w*Exception$|Timeout\w*Exception$|^(?:software\.amazon|com\.amazonaws)\.|\.s3a\.|\.azurebfs\.|\.fs\.azure\."
    r"|^com\.(?:microsoft\.)?azure\.|^com\.google\.(?:cloud|api|auth)\.|\.fs\.gs\.|^org\.apache\.http\.|^okhttp3\.|^io\."
    r"|^org\.apache\.hadoop\.(?:hdfs|ipc|net|security)\.|AccessControlException$"
    r"|^org\.apache\.spark\.(?:shuffle|network|rpc|storage|scheduler|memory|api)\.|^org\.apache\.spark\.(?:ExecutorDead|TaskKilled)"
)
_SAID_BESIDE_THE_FILE = re.compile(
    r"connection (?:reset|refused|closed|timed|pool|was|has been|abort|shut|lost|failed|to )|connect to|timed out"
    r"|timeout (?:of|after|waiting|expired|exceeded)|No space left|quota exceeded|Permission denied|Access ?Denied"
    r"|Too many open files|Input/output error|Stale file handle|Cannot allocate memory|Read-only file system"
    r"|Operation not permitted"
    r"|Broken pipe|Host is down|Remote I/O|(?:Filesystem|Stream is) closed|Premature (?:EOF|end)"
    r"|No route to host|unexpected end of stream on |Could not obtain block|Blocklist for .* has changed"
    r"|Status Code: \d|SlowDown|credentials? provider|load credentials|lost executor|Executor heartbeat",
    re.IGNORECASE,
)


def says_the_input(error: Py4JJavaError) -> bool:
    """Whether `error` says that a file is missing, that there is no reader of its file system, or that it is not of the
    form that was asked for. Full disks, refused access, lost executors and stores out of reach are none of these.

    Of what is met while a file is read the rest is the file's; of anything else, only what is known to be."""
    chain = _causes(error)
    kind, message = chain[-1]
    if _MISSING.search(kind):
        return _ANOTHER_ANSWER.search(message) is None
    if kind == "java.lang.ClassNotFoundException":
        return "FileSystem" in message  # a connector that Spark does not have
    if _NOT_AS_IT_SHOULD_BE.search(kind) or _BADLY_COMPRESSED.search(message):
        return True
    reading = [number for number, (_, text) in enumerate(chain) if "FAILED_READ_FILE" in text]
    within = chain[reading[-1] + 1 :] if reading else []
    # The texts of outer causes repeat traces, in which any word may stand.
    return bool(within) and not any(_beside_the_file(kind, text) for kind, text in within)


def _beside_the_file(kind: str, message: str) -> bool:
    # Spark's own checks of a file repeat what stands in it.
    said = None if kind.startswith("org.apache.spark.Spark") else _SAID_BESIDE_THE_FILE.search(message)
    return bool(said or _BESIDE_THE_FILE.search(kind))


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
        told = f"{first[first.index('[') :][:400]} {last[:400]}".rstrip(" .")
        raise InputError(f"{told}. Mend or replace the file, and run again.") from error


def _causes(error: Py4JJavaError) -> list[tuple[str, str]]:
    """Class and message of each cause, the outermost first."""
    found, cause = [], error.java_exception
    while cause is not None:
        found.append((str(cause.getClass().getName()), " ".join((cause.getMessage() or "").split())))
        cause = cause.getCause()
    return found
