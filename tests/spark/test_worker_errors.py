"""What is wrong with the data is found in Python workers, and told in one message all the same."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from vizrec_spark.app.runner import guarded
from vizrec_spark.errors import InputError


def test_an_error_of_ours_in_a_worker_is_one_message(
    spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        raise InputError("vectors have 3 and 4 components: run stage `embed` again")

    frame = spark.range(1).mapInArrow(refuse, "id long")
    assert guarded(lambda _: frame.count(), argparse.Namespace(quiet=True)) == InputError.exit_code
    told = capsys.readouterr().err
    assert told == "Error: vectors have 3 and 4 components: run stage `embed` again\n"


def test_any_other_error_in_a_worker_keeps_its_traceback(
    spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        raise ZeroDivisionError("a fault of the program")

    frame = spark.range(1).mapInArrow(fail, "id long")
    assert guarded(lambda _: frame.count(), argparse.Namespace(quiet=True)) == 1
    told = capsys.readouterr().err
    assert "Traceback" in told and "ZeroDivisionError: a fault of the program" in told
