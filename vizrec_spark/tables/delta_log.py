"""Delta's log of a table, as its own classes read it: no Spark job but where one is named."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from delta import DeltaTable
from py4j.java_gateway import JavaObject
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from vizrec_spark.tables.places import qualified

UPKEEP = "^(OPTIMIZE|VACUUM|REORG|FSCK|SET |UNSET |ADD |DROP |CHANGE |CLUSTER|COMPUTE|MANUAL|AUTO)"
"""Operations, as a regular expression, that leave all rows as they are."""


def is_upkeep(operation: str) -> bool:
    """Whether a commit of this operation leaves all rows as they are."""
    return re.match(UPKEEP, operation) is not None


def commit_info(spark: SparkSession, delta_log: JavaObject, version: int) -> dict[str, Any]:
    """What the log says about one commit, read as the small file that it is; `history` runs two Spark jobs."""
    actions = (
        delta_log.store()
        .read(commit_file(spark, delta_log, version), delta_log.newDeltaHadoopConf())
        .iterator()
    )
    while actions.hasNext():
        action = json.loads(actions.next())
        if "commitInfo" in action:
            return dict(action["commitInfo"])
    return {}


def commit_file(spark: SparkSession, delta_log: JavaObject, version: int) -> JavaObject:
    """The path of a commit."""
    jvm = spark._jvm
    assert jvm is not None  # for mypy: a classic session has one
    return jvm.org.apache.spark.sql.delta.util.FileNames.unsafeDeltaFile(delta_log.logPath(), version)


def said(commit_info: Mapping[str, Any]) -> dict[str, Any]:
    """What a store has said of its commit; nothing where another program made it."""
    try:
        found = json.loads(commit_info.get("userMetadata") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def paths_of(snapshot: JavaObject) -> set[str]:
    """Data files and deletion vectors of a version, in full."""
    root = snapshot.deltaLog().dataPath()
    found = set()
    for file in snapshot.allFiles().collect():
        found.add(file.absolutePath(snapshot.deltaLog()).toString())
        vector = file.deletionVector()
        if vector is not None and vector.isOnDisk():
            found.add(vector.absolutePath(root).toString())
    return found


def place_of(table: DeltaTable) -> str:
    """The folder of a table's data, in full."""
    return qualified(table._spark, table._jdt.deltaLog().dataPath().toString())


def rows_changed_at(table: DeltaTable) -> datetime | None:
    """The time of the last commit that is more than upkeep (compaction, vacuum, properties); a job over the log."""
    kept = table.history().where(~F.col("operation").rlike(UPKEEP))
    return kept.agg(F.max("timestamp").alias("at")).collect()[0].at
