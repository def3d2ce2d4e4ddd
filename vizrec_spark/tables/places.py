"""Where data lies, whichever way it is written: `./work`, `work/` and `file:/srv/work` may be one folder."""

from __future__ import annotations

from collections.abc import Iterable

from py4j.java_gateway import JavaObject
from pyspark.sql import SparkSession


def located(spark: SparkSession, path: str) -> tuple[JavaObject, JavaObject]:
    """`path` as a Hadoop path, and the file system that it lies in."""
    of = spark._jvm.org.apache.hadoop.fs.Path(path)  # type: ignore[union-attr]
    return of, of.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf())


def qualified(spark: SparkSession, path: str) -> str:
    """`path` as Hadoop knows it in full: with file system, absolute, without `.`, `..` and a slash at the end."""
    of, system = located(spark, path)
    return str(
        spark._jvm.org.apache.hadoop.fs.Path(  # type: ignore[union-attr]
            system.makeQualified(of).toUri().normalize()
        ).toString()
    )


def sizes_of(spark: SparkSession, files: Iterable[str]) -> dict[str, int]:
    """Bytes of those of the files, by their paths in full, that are there; each of their folders is listed once."""
    wanted, found = set(files), dict[str, int]()
    for folder in {file.rpartition("/")[0] for file in wanted}:
        of, system = located(spark, folder)
        if not system.exists(of):
            continue
        listing = system.listStatusIterator(of)
        while listing.hasNext():
            status = listing.next()
            path = status.getPath().toString()
            if path in wanted:
                found[path] = int(status.getLen())
    return found
