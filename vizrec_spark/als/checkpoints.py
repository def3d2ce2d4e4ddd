"""Checkpoints of one run: where they lie while it lasts, and that they go when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

from vizrec_spark.tables.places import located


@contextmanager
def checkpoints(spark: SparkSession, folder: str) -> Iterator[None]:
    """While the body runs, the session's checkpoints go to a folder of its own below `folder`; then it is removed.

    Without a checkpoint directory MLlib silently ignores the interval, and the lineage of a long training overflows
    the stack. Spark itself never removes the folder. A frame that was checkpointed inside cannot be read afterwards.
    """
    spark.sparkContext.setCheckpointDir(folder)
    own = spark.sparkContext.getCheckpointDir()
    try:
        yield
    finally:
        path, system = located(spark, str(own))
        system.delete(path, True)
