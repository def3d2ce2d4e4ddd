"""Tables that may not be ours: lists of recommendations, and pairs of items, that anybody may have made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from delta import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vizrec_spark.config.models import TablesConfig
from vizrec_spark.errors import TableError
from vizrec_spark.tables.delta_log import place_of, rows_changed_at


@dataclass(frozen=True)
class Origin:
    """Where lists lie in full, when their rows were last changed (None: longer ago than the history tells), and where
    other tables would be that lie beside them (None: no place that tables can have)."""

    place: str
    changed_at: datetime | None
    beside: TablesConfig | None


_COLUMNS = {"user_id": ("string",), "rank": ("int", "bigint", "smallint"), "item_id": ("string",)}


def read_lists(spark: SparkSession, location: str) -> DataFrame:
    """`user_id` string, `rank` int (1 for the best), `item_id` string from the Delta table at `location`, a path or
    URI (with a slash in it) or a name of the catalog.

    Raises: TableError when there is no such table or it lacks one of these columns.
    """
    try:
        frame = spark.read.format("delta").load(location) if "/" in location else spark.read.table(location)
    except AnalysisException as error:
        told = " ".join(str(error).split())[:300]
        raise TableError(
            f"No table of recommendations can be read at {location}: run stage `recommend` on the tables there first, "
            f"or name another one. {told}"
        ) from None
    found = dict(frame.dtypes)
    wrong = [f"`{name}` ({kinds[0]})" for name, kinds in _COLUMNS.items() if found.get(name) not in kinds]
    if wrong:
        raise TableError(
            f"The table of recommendations at {location} needs the columns {', '.join(wrong)}; it has "
            f"{', '.join(f'{name} ({kind})' for name, kind in found.items())}."
        )
    return frame.select("user_id", frame["rank"].cast("int").alias("rank"), "item_id")


def read_pairs(spark: SparkSession, path: str) -> DataFrame:
    """`item_id`, `neighbor_id` (both string) from a Parquet folder or a Delta table at `path`.

    Raises: TableError when there is neither, or it lacks one of these columns.
    """
    pairs = [F.col(name).cast("string") for name in ("item_id", "neighbor_id")]
    try:
        kind = "delta" if DeltaTable.isDeltaTable(spark, path) else "parquet"
        return spark.read.format(kind).load(path).select(*pairs)
    except (PySparkException, Py4JJavaError) as error:  # the latter for files of another format
        told = error.java_exception.getMessage() if isinstance(error, Py4JJavaError) else str(error)
        raise TableError(
            f"expected a Parquet folder or Delta table of item_id and neighbor_id at {path}: "
            + told.strip().splitlines()[0]
        ) from error


def origin_of_lists(spark: SparkSession, location: str) -> Origin:
    """The `Origin` of lists that `read_lists` can read at `location`."""
    if "/" in location:
        table = DeltaTable.forPath(spark, location)
        return Origin(place_of(table), rows_changed_at(table), TablesConfig(root=_parent(location)))
    table = DeltaTable.forName(spark, location)
    names = [spark.catalog.currentCatalog(), spark.catalog.currentDatabase(), *location.split(".")[:-1]]
    try:
        beside = TablesConfig(catalog=".".join(names[-2:]))
    except ValueError:  # a name that needs quotes
        beside = None
    return Origin(place_of(table), rows_changed_at(table), beside)


def _parent(location: str) -> str:
    return location.rstrip("/").rpartition("/")[0] or "/"
