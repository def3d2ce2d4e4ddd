"""Where data lies, whichever way it is written: `./work`, `work/` and `file:/srv/work` may be one folder."""

from __future__ import annotations

from pyspark.sql import SparkSession


def qualified(spark: SparkSession, path: str) -> str:
    """`path` as Hadoop knows it in full: with file system, absolute, without `.`, `..` and a slash at the end."""
    of = spark._jvm.org.apache.hadoop.fs.Path(path)  # type: ignore[union-attr]
    system = of.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf())
    return str(
        spark._jvm.org.apache.hadoop.fs.Path(  # type: ignore[union-attr]
            system.makeQualified(of).toUri().normalize()
        ).toString()
    )
