"""The pictures that the page shows, out of a table that holds the bytes of all."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.report.select import with_ids
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.schemas import IMAGES

_PICTURE = ("item_id", "sha256", "content")


def first_pictures(tables: TableStore, item_ids: Sequence[str]) -> DataFrame:
    """One picture of each of `item_ids`, the first by path: `item_id`, `sha256`, `content`.

    Which picture is settled on names alone; of the bytes, only the data files that hold those few are opened.
    """
    if not tables.exists(IMAGES):
        return tables.read_or_empty(IMAGES).select(*_PICTURE)
    images = tables.pinned(IMAGES)
    file = F.element_at(F.split("_metadata.file_path", "/"), -1)
    names = images.select("item_id", "path", F.col("_metadata.file_path").alias("at"), file.alias("file"))
    mine = names.join(with_ids(images, item_ids), "item_id").groupBy("item_id")
    rows = mine.agg(F.min_by(F.struct("path", "file", "at"), "path").alias("first")).collect()
    if not rows:
        return images.select(*_PICTURE).limit(0)
    shown = images.sparkSession.createDataFrame(
        [(row.item_id, row.first.path, row.first.file) for row in rows],
        "item_id string, path string, file string",
    )
    # A file may hold rows that have been replaced, which stand elsewhere by now.
    stored = tables.read_files(IMAGES, {row.first.at for row in rows})
    stored = stored.withColumn("file", F.col("_metadata.file_name"))
    return stored.join(F.broadcast(shown), ["item_id", "path", "file"]).select(*_PICTURE)
