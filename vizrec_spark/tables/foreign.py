"""Tables that are not ours: lists of recommendations that anybody may have made."""

from __future__ import annotations

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.errors import TableError

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
        raise TableError(f"No table of recommendations can be read at {location}: {told}") from None
    found = dict(frame.dtypes)
    wrong = [f"`{name}` ({kinds[0]})" for name, kinds in _COLUMNS.items() if found.get(name) not in kinds]
    if wrong:
        raise TableError(
            f"The table of recommendations at {location} needs the columns {', '.join(wrong)}; it has "
            f"{', '.join(f'{name} ({kind})' for name, kind in found.items())}."
        )
    return frame.select("user_id", frame["rank"].cast("int").alias("rank"), "item_id")
