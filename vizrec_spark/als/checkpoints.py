"""Checkpoints of one run: where they lie while it lasts, and that they go with it, or with the next if it is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pyspark.sql import SparkSession

from vizrec_spark.scratch import claimed, remove_abandoned
from vizrec_spark.stage import log
from vizrec_spark.tables.places import located


@contextmanager
def checkpoints(spark: SparkSession, folder: str) -> Iterator[None]:
    """While the body runs, the session's checkpoints go to a folder of its own below `folder`; then it is removed, and
    they go where they went before.

    Without a checkpoint directory MLlib silently ignores the interval, and the lineage of a long training overflows
    the stack. Spark itself never removes the folder. A frame that was checkpointed inside cannot be read afterwards.

    A run that is killed leaves its folder. Where `folder` is in a file system of this machine, the next run removes
    what such runs of its host have left there (`scratch`). Elsewhere (HDFS, an object store) nobody can tell a dead run
    from one on another machine: give the store a rule that removes what is old.
    """
    context = spark.sparkContext._jsc.sc()
    before = context.checkpointDir()
    spark.sparkContext.setCheckpointDir(folder)
    path, system = located(spark, str(spark.sparkContext.getCheckpointDir()))
    with ExitStack() as stack:
        if system.getUri().getScheme() == "file":
            own = Path(path.toUri().getPath())
            stack.enter_context(claimed(own))
            for left in remove_abandoned(own.parent):
                log.info("als: removed the checkpoints of a run that was killed, %s", left)
        stack.callback(system.delete, path, True)
        stack.callback(getattr(context, "checkpointDir_$eq"), before)
        yield
