"""What Spark and the system say when a disk is full or a store is closed, as a person is told it."""

from __future__ import annotations

import errno

import pytest

from vizrec_spark.app.spark_errors import of_the_system, understood
from vizrec_spark.errors import DiskSpaceError, InputError, StorageError

LOST = "An error occurred while calling o9.save.\n: org.apache.spark.SparkException: [TASK_WRITE_FAILED] Task failed. "
TRACE = "\n\tat org.apache.spark.sql.Foo.bar(Foo.scala:12)\nCaused by: "


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        (
            f"{LOST}{TRACE}java.io.IOException: No space left on device\n\tat java.base/java.io.write(Native)",
            DiskSpaceError,
            "A disk is full: No space left on device. Make room",
        ),
        (
            f"{LOST}{TRACE}java.nio.file.FileSystemException: /mnt/t/part-1.snappy.parquet: Disk quota exceeded",
            DiskSpaceError,
            "A disk is full: /mnt/t/part-1.snappy.parquet: Disk quota exceeded. Make room",
        ),
        (
            f"{LOST}Lost task 0.0 (TID 1) (h executor driver): java.io.FileNotFoundException: /t/a.parquet (Read-only "
            "file system)",
            StorageError,
            "A folder cannot be written: /t/a.parquet (Read-only file system). Check that it is mounted",
        ),
        (
            f"{LOST}{TRACE}java.io.IOException: Mkdirs failed to create file:/t/_delta_log (exists=false)",
            StorageError,
            "A folder cannot be written: Mkdirs failed to create file:/t/_delta_log (exists=false). Check",
        ),
        (
            f"{LOST}{TRACE}java.nio.file.AccessDeniedException: s3a://shop/t: getFileStatus on s3a://shop/t: "
            "software.amazon.awssdk.services.s3.model.S3Exception: null (Service: S3, Status Code: 403)",
            StorageError,
            "Access was denied: null (Service: S3, Status Code: 403). Check the credentials",
        ),
        (
            f"{LOST}{TRACE}java.net.ConnectException: Connection refused\n\tat java.base/java.net.Socket.connect(1)",
            StorageError,
            "A host cannot be reached: java.net.ConnectException: Connection refused. Check the addresses",
        ),
        (
            "An error occurred while calling o1.csv.\n: java.net.UnknownHostException: shop.example",
            StorageError,
            "A host cannot be reached: java.net.UnknownHostException: shop.example. Check the addresses",
        ),
        (
            f"{LOST}{TRACE}org.apache.hadoop.security.AccessControlException: Permission denied: user=ann, "
            'access=READ, inode="/t"',
            StorageError,
            'Access was denied: Permission denied: user=ann, access=READ, inode="/t". Check the credentials',
        ),
    ],
)
def test_what_a_store_says(text: str, kind: type[Exception], told: str) -> None:
    found = understood(RuntimeError(text))
    assert isinstance(found, kind) and str(found).startswith(told)
    assert str(found).endswith("tables hold their last whole version.")


@pytest.mark.parametrize(
    "text",
    [
        f"{LOST}{TRACE}org.apache.spark.shuffle.FetchFailedException\n\tat org.apache.spark.Foo.bar(Foo.scala:1)\n"
        "Caused by: java.io.IOException: Failed to connect to /10.0.0.7:7337\n"
        "Caused by: java.net.ConnectException: Connection refused",
        f"{LOST}Job aborted: ShuffleMapStage 7 has failed the maximum allowable number of times: 4. Most recent "
        "failure reason:\norg.apache.spark.shuffle.FetchFailedException: Failed to connect to w3:40001\nCaused by: "
        "java.net.UnknownHostException: w3",
        f"{LOST}{TRACE}java.net.ConnectException: Connection refused\n"
        "\tat org.apache.spark.network.client.TransportClientFactory.createClient(TransportClientFactory.java:294)",
        "Job aborted due to stage failure: Task 3 in stage 8.0 failed 4 times, most recent failure: Lost task 3.3 in "
        "stage 8.0 (TID 71) (w3 executor 4): ExecutorLostFailure (executor 4 exited, caused by one of the tasks) "
        "Reason: Container killed by YARN for exceeding physical memory limits.\nDriver stacktrace:",
        "Lost task 0.3 in stage 2.0 (TID 5) (10.0.0.1 executor 4): ExecutorLostFailure (executor 4 exited, unrelated "
        "to the running tasks) Reason: Command exited with code 137",
        f"{LOST}{TRACE}org.apache.spark.SparkException: Python worker exited unexpectedly (crashed)\n"
        "\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.applyOrElse(PythonRunner.scala:6)\n"
        "Caused by: java.io.EOFException",
    ],
)
def test_an_executor_that_is_gone_is_no_wrong_address(text: str) -> None:
    told = str(understood(RuntimeError(text)))
    assert told.startswith("An executor was lost") and "addresses" not in told and "memoryOverhead" in told


def test_a_store_that_a_task_behind_a_shuffle_cannot_reach_is_one() -> None:
    text = (
        f"{LOST}{TRACE}java.net.ConnectException: Connection refused\n"
        "\tat org.apache.spark.shuffle.ShuffleWriteProcessor.write(ShuffleWriteProcessor.scala:57)"
    )
    assert isinstance(understood(RuntimeError(text)), StorageError)


@pytest.mark.parametrize(
    "text",
    [
        f"{LOST}{TRACE}java.lang.ArithmeticException: divide by zero",
        f'{LOST}{TRACE}java.io.IOException: Cannot run program "/env/python": error=13, Permission denied',
    ],
)
def test_what_is_none_of_these_is_left_to_its_trace(text: str) -> None:
    assert understood(RuntimeError(text)) is None


def test_what_this_package_says_comes_before_what_it_mentions() -> None:
    text = f"{LOST}\nTraceback:\nvizrec_spark.errors.InputError: a/b.jpg: Permission denied: mend it\n"
    found = understood(RuntimeError(text))
    assert (str(found), found and found.exit_code) == (
        "a/b.jpg: Permission denied: mend it",
        InputError.exit_code,
    )


def test_what_the_system_says() -> None:
    full = of_the_system(OSError(errno.ENOSPC, "No space left on device"))
    assert isinstance(full, DiskSpaceError) and "A disk is full: No space left on device" in str(full)
    closed = of_the_system(PermissionError(errno.EACCES, "Permission denied", "/secret/w.h5"))
    assert isinstance(closed, StorageError) and str(closed).startswith(
        "/secret/w.h5: Permission denied. Check that"
    )
    assert of_the_system(OSError("a fault of the program")) is None
