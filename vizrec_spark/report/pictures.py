"""Small pictures of items: out of table `thumbnails`, or made once and put there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from vizrec_spark.imaging import Thumbnail
from vizrec_spark.report.select import with_ids
from vizrec_spark.report.thumbnails import thumbnail_of
from vizrec_spark.tables import TableStore, Written
from vizrec_spark.tables.schemas import IMAGES, THUMBNAILS


@dataclass(frozen=True)
class Pictures:
    """`thumbnails` by content hash, `of` the hash of each item that has a picture; one whose hash has no thumbnail is
    broken."""

    thumbnails: Mapping[str, Thumbnail] = field(default_factory=dict)
    of: Mapping[str, str] = field(default_factory=dict)


def small_pictures(
    tables: TableStore, item_ids: Sequence[str], size: int, max_pixels: int
) -> tuple[Pictures, list[Row]]:
    """The first picture by path of each of `item_ids`, whose longer side has at most `size` pixels, and the rows that
    table `thumbnails` does not have.

    These are made by the executors: full pictures do not travel to the driver. Nothing is written.
    """
    places = _first_places(tables, item_ids)
    of = {row.item_id: row.sha256 for row in places}
    made = {row.sha256: row for row in _kept(tables, sorted(set(of.values())), size).collect()}
    missing = {row.sha256: row for row in places if row.sha256 not in made}
    new = _made(tables, list(missing.values()), size, max_pixels).collect() if missing else []
    made.update((row.sha256, row) for row in new)
    shown = {sha256: Thumbnail(bytes(row.jpeg), row.width, row.height) for sha256, row in made.items()}
    return Pictures(shown, of), new


def _first_places(tables: TableStore, item_ids: Sequence[str]) -> list[Row]:
    """item_id, path, sha256, and the data file (`at`, `file`) of the first picture of each. No bytes are read."""
    if not item_ids or not tables.exists(IMAGES):
        return []
    images = tables.pinned(IMAGES)
    file = F.element_at(F.split("_metadata.file_path", "/"), -1)
    names = images.select(
        "item_id", "path", "sha256", F.col("_metadata.file_path").alias("at"), file.alias("file")
    )
    mine = names.join(with_ids(images, item_ids), "item_id").groupBy("item_id")
    first = mine.agg(F.min_by(F.struct("path", "sha256", "file", "at"), "path").alias("first"))
    return first.select("item_id", "first.*").orderBy("item_id").collect()


def _kept(tables: TableStore, hashes: Sequence[str], size: int) -> DataFrame:
    stored = tables.pinned_or_empty(THUMBNAILS)
    return stored.where((F.col("size") == size) & F.col("sha256").isin(*hashes))


def _made(tables: TableStore, places: Sequence[Row], size: int, max_pixels: int) -> DataFrame:
    """The columns of table `thumbnails`; of the pictures only the data files that hold these few are opened."""
    shown = tables.pinned(IMAGES).sparkSession.createDataFrame(
        [(row.item_id, row.path, row.file) for row in places], "item_id string, path string, file string"
    )
    # A file may hold rows that have been replaced, which stand elsewhere by now.
    stored = tables.read_files(IMAGES, {row.at for row in places})
    stored = stored.withColumn("file", F.col("_metadata.file_name"))
    few = stored.join(F.broadcast(shown), ["item_id", "path", "file"])
    small = few.select("sha256", thumbnail_of(F.col("content"), size, max_pixels).alias("made"))
    return small.where("made IS NOT NULL").select("sha256", F.lit(size).cast("int").alias("size"), "made.*")


def keep_pictures(tables: TableStore, new: Sequence[Row]) -> Written:
    """Adds the rows that `small_pictures` has made to table `thumbnails`, and deletes there those of pictures that no
    item has any more. Runs a job or two.

    What cannot be decoded is not among them, so that a decoder that can shows it.
    """
    stored = tables.pinned_or_empty(THUMBNAILS)
    there = tables.pinned_or_empty(IMAGES).select("sha256")
    gone = stored.select("sha256").distinct().join(there, "sha256", "left_anti").collect()
    added = tables.unchanged(THUMBNAILS)
    if new:
        rows = stored.sparkSession.createDataFrame([tuple(row) for row in new], THUMBNAILS.schema)
        added = tables.insert_missing(THUMBNAILS, rows)
    if not gone:
        return added
    left = tables.delete(THUMBNAILS, F.col("sha256").isin(*(row.sha256 for row in gone)))
    return replace(left, changed=added.changed + left.changed)
