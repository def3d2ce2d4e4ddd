"""What was refused, counted by reason, with a few of the refused pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Row, SparkSession, Window
from pyspark.sql import functions as F

from vizrec_spark.config.models import ImagesConfig
from vizrec_spark.imaging import Thumbnail
from vizrec_spark.report.thumbnails import thumbnail_of
from vizrec_spark.stage import StageContext
from vizrec_spark.tables.places import located
from vizrec_spark.tables.schemas import QUARANTINE

_TOO_LARGE = ("too_large", "decompression_bomb")  # these are not opened

SAMPLES, OF_A_REASON, SIZE = 12, 3, 96
"""Refused pictures shown, at most, of all and of one reason, and the longer side of each in pixels."""


@dataclass(frozen=True)
class Refused:
    """How many records of an input were refused for one reason, and what a person is told of one of them."""

    source: str
    reason: str
    count: int
    message: str = ""


@dataclass(frozen=True)
class Refusals:
    """All reasons, the most frequent first."""

    reasons: tuple[Refused, ...] = ()
    of_ingest: int = 0
    """How many of them stage `ingest` has refused."""

    @property
    def count(self) -> int:
        """All records in quarantine."""
        return sum(r.count for r in self.reasons)


@dataclass(frozen=True)
class Sample:
    """A refused picture: its path below the landing folder, the reason, and `thumbnail` where it can be shown; `there`:
    there is a file."""

    path: str
    reason: str
    there: bool
    thumbnail: Thumbnail | None = None

    @property
    def state(self) -> str:
        """Why it is not shown, in a word or two."""
        if not self.there:
            return "missing"
        return "too large" if self.reason in _TOO_LARGE else "broken"


def read_refusals(context: StageContext) -> tuple[Refusals, tuple[Sample, ...]]:
    """Counts by reason and samples; runs three jobs, the last on the files of the samples alone."""
    quarantine = context.tables.pinned_or_empty(QUARANTINE)
    counted = quarantine.groupBy("source", "reason").agg(
        F.count("*").alias("n"),
        F.count_if(F.col("stage") == "ingest").alias("of_ingest"),
        F.min("message").alias("message"),
    )
    rows = sorted(counted.collect(), key=lambda row: (-row.n, row.source, row.reason))
    reasons = Refusals(
        tuple(Refused(row.source, row.reason, row.n, row.message) for row in rows),
        sum(row.of_ingest for row in rows),
    )
    if not any(row.source == "images" for row in rows):
        return reasons, ()
    return reasons, show_samples(
        context.spark, context.config.ingest.images, sample_rows(quarantine).collect()
    )


def sample_rows(quarantine: DataFrame) -> DataFrame:
    """`path` and `reason` of at most `SAMPLES` refused pictures, a few of each reason; chosen by a hash of the path."""
    pictures = (
        quarantine.where("source = 'images'").select(F.col("record").alias("path"), "reason").distinct()
    )
    lot = (F.xxhash64("path"), F.col("path"))
    placed = pictures.withColumn("place", F.row_number().over(Window.partitionBy("reason").orderBy(*lot)))
    few = placed.where(F.col("place") <= OF_A_REASON).orderBy("place", "reason").limit(SAMPLES)
    return few.select("path", "reason")


def show_samples(spark: SparkSession, config: ImagesConfig, rows: Sequence[Row]) -> tuple[Sample, ...]:
    """The samples with small pictures where the bytes can be decoded. Runs a job on their files, where there are any.

    A path that leads out of the landing folder is the text of a stranger, and is not followed.
    """
    root = config.path.rstrip("/")
    there = {row.path: file for row in rows if (file := _file(spark, root, row.path)) is not None}
    made = _thumbnails(spark, sorted(there.values()), config) if there else {}
    return tuple(
        Sample(row.path, row.reason, row.path in there, made.get(_plain(there.get(row.path, ""))))
        for row in rows
    )


def _file(spark: SparkSession, root: str, path: str) -> str | None:
    """The file in full; None where there is none, or none that can be asked for: it is the text of a stranger, and
    Spark passes over files whose names begin with `_` or a dot."""
    if not path or ".." in path.split("/") or re.match(r"/|[\w+.-]+:", path):
        return None
    if path.rpartition("/")[2].startswith(("_", ".")):
        return None
    try:
        of, system = located(spark, f"{root}/{path}")
        if not system.exists(of) or system.getFileStatus(of).isDirectory():
            return None
        return str(system.makeQualified(of).toString())
    except Py4JError:
        return None


def _thumbnails(spark: SparkSession, files: Sequence[str], config: ImagesConfig) -> dict[str, Thumbnail]:
    """By file; files above `max_bytes` are not opened, and one that cannot be read takes no other with it."""
    try:
        return _made(spark, files, config)
    except (PySparkException, Py4JError):
        if len(files) == 1:
            return {}
        return {k: v for file in files for k, v in _thumbnails(spark, [file], config).items()}


def _made(spark: SparkSession, files: Sequence[str], config: ImagesConfig) -> dict[str, Thumbnail]:
    literal = [
        re.sub(r"([\\\[\]{}*?])", r"\\\1", file) for file in files
    ]  # Spark would read these as a pattern
    read = spark.read.format("binaryFile").load(literal).where(F.col("length").between(1, config.max_bytes))
    made = read.select(
        "path", thumbnail_of(F.col("content"), SIZE, config.max_pixels).alias("made")
    ).collect()
    return {
        _plain(row.path): Thumbnail(bytes(row.made.jpeg), row.made.width, row.made.height)
        for row in made
        if row.made is not None
    }


def _plain(uri: str) -> str:
    """Without the slashes behind the scheme, of which Spark writes one or three."""
    return re.sub(r"^([\w.+-]+):/+", r"\1:/", uri)
