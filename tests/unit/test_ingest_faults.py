"""Which errors of Spark are a file's fault, and which may be over when the run is tried again."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
from py4j.protocol import Py4JJavaError

from vizrec_spark.errors import InputError
from vizrec_spark.ingest.faults import last_cause, readable_input, says_the_input

READING = (
    "org.apache.spark.SparkException",
    "[FAILED_READ_FILE.NO_HINT] Encountered error while reading file s3a://shop/items.csv.",
)
ABORTED = (
    "org.apache.spark.SparkException",
    "Job aborted due to stage failure: Task 0 in stage 1.0 failed 4 times",
)
NO_ROOM = "/scratch/blockmgr/1c/temp_shuffle (No space left on device)"


def thrown(*chain: tuple[str, str | None]) -> Py4JJavaError:
    """The error that py4j makes of a Java exception with these causes, the outermost first."""
    error, cause = Py4JJavaError.__new__(Py4JJavaError), None
    for kind, message in reversed(chain):
        named = SimpleNamespace(getName=partial(str, kind))
        cause = SimpleNamespace(
            getClass=partial(getattr, SimpleNamespace(named=named), "named"),
            getMessage=partial(getattr, SimpleNamespace(message=message), "message"),
            getCause=partial(getattr, SimpleNamespace(cause=cause), "cause"),
        )
    error.java_exception = cause
    return error


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("java.io.FileNotFoundException", "File file:/landing/items.csv does not exist"),
        ("java.io.FileNotFoundException", "/landing/items.csv (No such file or directory)"),
        ("java.io.FileNotFoundException", "No such file or directory: s3a://b/items (copy)"),
        ("java.io.FileNotFoundException", "File does not exist: /landing/items (copy)"),
        ("java.io.EOFException", "Unexpected end of input stream"),
        ("java.io.IOException", "gzip stream CRC failure"),
        ("java.io.IOException", "gzip header CRC failure"),
        ("java.io.IOException", "stored gzip size doesn't match decompressed size"),
        ("java.io.IOException", "gzip data not compressed with deflate method"),
        ("java.io.IOException", "unknown gzip format (CM=9)"),
        ("java.io.IOException", "crc error"),
        ("java.io.IOException", "unexpected end of stream"),
        ("java.io.IOException", "block overrun"),
        ("java.io.IOException", "Stream corrupted"),
        ("java.io.IOException", "Stream is not BZip2 formatted: expected 'h' as first byte but got '/'"),
        ("java.io.IOException", "Unexpected end of block in input stream"),
        ("java.io.IOException", "FAILED_TO_UNCOMPRESS(5)"),
        ("java.io.EOFException", "Reached the end of stream with 12 bytes left to read"),
        ("java.io.IOException", "what no reader has said so far"),
        (
            "org.apache.spark.SparkIllegalArgumentException",
            "[CSV_HEADER] Header: item_id, credentials provider, connection refused",
        ),
        ("org.apache.spark.SparkRuntimeException", "[MALFORMED_RECORD_IN_PARSING] Malformed records"),
        ("org.apache.spark.SparkUnsupportedOperationException", "[UNSUPPORTED] of a column"),
        ("org.apache.spark.SparkArithmeticException", "[DIVIDE_BY_ZERO] Division by zero"),
        ("org.apache.spark.SparkDateTimeException", "[CAST_INVALID_INPUT] of a date"),
        ("java.io.IOException", "not a gzip file"),
        ("java.util.zip.ZipException", "invalid distance too far back"),
        ("java.lang.RuntimeException", "items.parquet is not a Parquet file. Expected magic number at tail"),
        ("java.lang.ArrayIndexOutOfBoundsException", "Index 9 out of bounds for length 3"),
        ("java.lang.NullPointerException", None),
        ("org.apache.parquet.io.ParquetDecodingException", "Can not read value at 1 in block 0"),
        ("com.univocity.parsers.common.TextParsingException", "Length of parsed input exceeds the maximum"),
        ("org.apache.hadoop.fs.ChecksumException", "Checksum error: items.csv at 0"),
    ],
)
def test_what_a_file_is_at_fault_for(kind: str, message: str | None) -> None:
    with pytest.raises(InputError, match=r"^\[FAILED_READ_FILE\.NO_HINT\] .*items\.csv"), readable_input():
        raise thrown(ABORTED, READING, (kind, message))


@pytest.mark.parametrize(
    "chain",
    [
        (ABORTED, READING, ("java.io.FileNotFoundException", NO_ROOM)),
        (ABORTED, READING, ("java.io.FileNotFoundException", "/landing/items.csv (Permission denied)")),
        (ABORTED, READING, ("java.io.FileNotFoundException", "/landing/items.csv (Too many open files)")),
        (ABORTED, READING, ("java.io.IOException", "Input/output error")),
        (ABORTED, READING, ("java.io.IOException", "Connection reset by peer")),
        (ABORTED, READING, ("java.io.IOException", "unexpected end of stream on https://store/...")),
        (ABORTED, READING, ("java.io.IOException", "Filesystem closed")),
        (ABORTED, READING, ("javax.net.ssl.SSLException", "Tag mismatch!")),
        (ABORTED, READING, ("java.io.InterruptedIOException", "interrupted")),
        (ABORTED, READING, ("com.azure.storage.blob.models.BlobStorageException", "ServerBusy")),
        (ABORTED, READING, ("com.google.cloud.storage.StorageException", "Backend error")),
        (ABORTED, READING, ("org.apache.hadoop.hdfs.BlockMissingException", "Could not obtain block: b-1")),
        (ABORTED, READING, ("java.lang.NoClassDefFoundError", "com/x/Codec")),
        (ABORTED, READING, ("org.apache.spark.shuffle.FetchFailedException", "h:7337")),
        (ABORTED, READING, ("org.apache.spark.TaskKilledException", None)),
        (ABORTED, READING, ("java.net.SocketTimeoutException", "Read timed out")),
        (ABORTED, READING, ("java.lang.IllegalStateException", "Connection pool shut down")),
        (ABORTED, READING, ("java.lang.OutOfMemoryError", "Java heap space")),
        (
            ABORTED,
            READING,
            ("org.apache.parquet.io.ParquetDecodingException", "Can not read value at 1 in block 0"),
            ("java.net.SocketException", "Connection reset"),
        ),
        (
            READING,
            ("org.apache.hadoop.fs.s3a.AWSServiceIOException", "open s3a://shop/items.csv"),
            (
                "software.amazon.awssdk.services.s3.model.S3Exception",
                "SlowDown (Service: S3, Status Code: 503)",
            ),
        ),
        (ABORTED, ("org.apache.spark.ExecutorDeadException", "Executor 3 is dead")),
        (ABORTED, ("org.apache.spark.shuffle.MetadataFetchFailedException", "Missing an output location")),
    ],
)
def test_what_is_no_fault_of_a_file_goes_through_as_it_is(chain: tuple[tuple[str, str | None], ...]) -> None:
    with pytest.raises(Py4JJavaError), readable_input():
        raise thrown(*chain)
    assert not says_the_input(thrown(*chain))


def test_a_file_system_without_a_connector_is_at_fault_before_anything_is_read() -> None:
    no_class = ("java.lang.ClassNotFoundException", "Class org.apache.hadoop.fs.s3a.S3AFileSystem not found")
    error = thrown(("java.lang.RuntimeException", f"{no_class[0]}: {no_class[1]}"), no_class)
    assert says_the_input(error) and last_cause(error) == f"ClassNotFoundException: {no_class[1]}"
    assert says_the_input(
        thrown(("org.apache.hadoop.fs.UnsupportedFileSystemException", 'No FileSystem for scheme "nofs"'))
    )
    assert not says_the_input(thrown(("java.lang.NullPointerException", None)))
