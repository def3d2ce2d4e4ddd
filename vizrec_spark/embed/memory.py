"""How much memory the Python workers have taken so far."""

from __future__ import annotations

import resource
from collections.abc import Iterable, Iterator

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

_SCHEMA = "peak long"


def worker_peak_bytes(spark: SparkSession) -> int:
    """The largest resident memory that a Python worker of this session ever had, in bytes.

    Asks as many tasks as there are slots, several times over, as a worker answers for its own process only.
    """
    asked = 4 * spark.sparkContext.defaultParallelism
    told = spark.range(0, asked, 1, asked).mapInArrow(_peak, _SCHEMA).agg(F.max("peak")).collect()
    return int(told[0][0] or 0)


def _peak(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for _ in batches:
        kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        yield pa.RecordBatch.from_pydict({"peak": pa.array([1024 * kibibytes], pa.int64())})
