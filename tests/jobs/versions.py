"""What a reader may have met: the versions of a table on disk, and which of them are whole."""

from __future__ import annotations

from pathlib import Path

from delta import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vizrec_spark.tables import Table
from vizrec_spark.tables.schemas import (
    ALS_MODELS,
    COMPARED_ITEMS,
    EMBEDDINGS,
    ITEM_FACTORS,
    QUARANTINE,
    RECOMMENDATIONS,
    USER_FACTORS,
)

# Tables that grow by chunks, each of which is whole.
GROWING = (EMBEDDINGS,)
# Tables that are not wholly one run's: they grow, are emptied first, remember, or several stages write a part each.
SHARED = (*GROWING, COMPARED_ITEMS, ALS_MODELS, QUARANTINE)
# Tables whose rows are of one model, in every version.
ONE_MODEL = (USER_FACTORS, ITEM_FACTORS, RECOMMENDATIONS)


def latest(spark: SparkSession, tables: Path, table: Table) -> int:
    """The number of the table's last version; -1 before it has one."""
    path = tables / table.name
    if not (path / "_delta_log").is_dir():
        return -1
    last = DeltaTable.forPath(spark, str(path)).history(1).select("version").first()
    assert last is not None
    return int(last.version)


def count(spark: SparkSession, tables: Path, table: Table) -> int:
    """Its rows; 0 before it is there."""
    path = tables / table.name
    return spark.read.format("delta").load(str(path)).count() if path.is_dir() else 0


def met(spark: SparkSession, table: Table, *states: Path) -> set[int]:
    """The numbers of rows that a reader may meet while `states` of the tables follow each other."""
    whole = {count(spark, tables, table) for tables in states}
    if table in GROWING:
        return set(range(min(whole), max(whole) + 1))
    # Empty while a run replaces what it is about, so that a run that dies is followed by a whole one.
    return whole | ({0} if table is COMPARED_ITEMS else set())


def of_models_in_use(table: Table, found: DataFrame, wanted: DataFrame) -> DataFrame:
    """`found`, and of table `als_models`, which remembers those of before, only the models of `wanted`."""
    if table is not ALS_MODELS:
        return found
    return found.join(wanted.select("model_id"), "model_id", "left_semi").select(wanted.columns)


def halves(
    spark: SparkSession, tables: Path, table: Table, since: int, allowed: set[int]
) -> list[tuple[str, int, int]]:
    """Every version after `since` that a reader may have met and that is neither what was there before nor whole."""
    found = []
    for version in range(since + 1, latest(spark, tables, table) + 1):
        frame = spark.read.format("delta").option("versionAsOf", version).load(str(tables / table.name))
        rows = frame.count()
        models = frame.select("model_id").distinct().count() if table in ONE_MODEL else min(rows, 1)
        if rows not in allowed or models != min(rows, 1):
            found.append((table.name, version, rows))
    return found


def strange(
    spark: SparkSession, tables: Path, table: Table, since: int, *states: Path
) -> list[tuple[str, int]]:
    """Every version after `since` that does not hold, row by row, what one of `states` of the tables holds."""
    if table in SHARED:
        return []
    whole = {contents(spark, state, table) for state in states}
    versions = range(since + 1, latest(spark, tables, table) + 1)
    return [(table.name, v) for v in versions if contents(spark, tables, table, v) not in whole]


def contents(spark: SparkSession, tables: Path, table: Table, version: int | None = None) -> tuple[int, int]:
    """How many rows, and the sum of their hashes."""
    reader = spark.read.format("delta")
    if version is not None:
        reader = reader.option("versionAsOf", version)
    row = F.to_json(F.struct(*(name for name in table.columns if name != "content")))
    number = F.xxhash64(row).cast("decimal(38, 0)")
    found = (
        reader.load(str(tables / table.name)).agg(F.count("*"), F.coalesce(F.sum(number), F.lit(0))).first()
    )
    assert found is not None
    return int(found[0]), int(found[1])
