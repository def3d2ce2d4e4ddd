"""Finds the catalogue's pictures, decodes each new one once, and judges them."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pandas as pd
from py4j.protocol import Py4JJavaError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import IntegerType, StringType, StructField, StructType

from vizrec_spark.config.models import ImagesConfig
from vizrec_spark.errors import ImageRefused, InputError
from vizrec_spark.imaging import inspect_image
from vizrec_spark.ingest.faults import last_cause, says_the_input
from vizrec_spark.ingest.sources import RAW
from vizrec_spark.tables.places import located

# Paths are relative however they begin. Possessive: else Java's stack grows with each repetition of the group.
_LEADING = r"^(?:\./|/)++"

_VERDICT = StructType(
    [
        StructField("width", IntegerType()),
        StructField("height", IntegerType()),
        StructField("format", StringType()),
        StructField("reason", StringType()),
        StructField("message", StringType()),
    ]
)


def list_files(spark: SparkSession, root: str) -> DataFrame:
    """Every file below `root`: `path` (relative), `bytes` (long), `modified` (timestamp), lazily `content`.

    The bytes of a file are only read when `content` is used. `modified` is null for a file without bytes. Runs a job
    over the names, which also stand on the driver, as in any listing by Spark: some 200 bytes a file.

    Raises: InputError when the folder is missing or is none.
    """
    folder = _qualified(spark, root)
    literal = re.sub(r"([\\\[\]{}*?])", r"\\\1", folder)  # Spark would read these as a pattern
    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(literal)

    scanned = files.select(
        F.substring(F.col("path"), len(folder) + 2, 1 << 20).alias("path"),
        F.col("length").alias("bytes"),
        F.col("modificationTime").alias("modified"),
        "content",
    )
    # Spark lists files without bytes but leaves them out of the scan; here they must be found and refused.
    names = pd.DataFrame({"path": [name[len(folder) + 1 :] for name in _listed(files)]}, dtype=object)
    listed = spark.createDataFrame(names, "path string")
    empty = [(row.path, 0, None, b"") for row in listed.join(scanned, "path", "left_anti").collect()]
    return scanned.unionByName(spark.createDataFrame(empty, scanned.schema)) if empty else scanned


def _listed(files: DataFrame) -> list[str]:
    """Every file that Spark found for `files`, hidden ones left out, as the column `path` writes it."""
    joined: str = files.sparkSession._jvm.org.apache.hadoop.util.StringUtils.join(  # type: ignore[union-attr]
        "\n", files._jdf.inputFiles()
    )
    # URIs, in which a scheme without authority is followed by three slashes, and in the column by one.
    uris = (re.sub(r"^([\w.+-]+):///", r"\1:/", unquote(uri)) for uri in joined.split("\n") if uri)
    return [uri for uri in uris if not uri.rpartition("/")[2].startswith(("_", "."))]


def image_references(items: DataFrame) -> DataFrame:
    """One row for each picture that the catalogue names: `item_id`, `path` (relative).

    `items` are accepted catalogue records with `image` (array<string>).
    """
    exploded = items.select("item_id", F.explode("image").alias("path"))
    return exploded.select("item_id", F.regexp_replace("path", _LEADING, "").alias("path")).distinct()


def match_files(
    references: DataFrame, files: DataFrame, images: DataFrame, config: ImagesConfig
) -> DataFrame:
    """References and files, each with what becomes of it.

    `files` as `list_files` gives them (`content` not used), `images` the table as it stands. Gives `item_id`,
    `path`, `bytes`, `modified`, `known` (the table has this very version of the file, not too large by today's
    `max_pixels`), `reason`, `message`.
    Files that are neither referenced nor pictures by their suffix are left out. Refused here: missing_file,
    unknown_item, empty_file, too_large.
    """
    old = images.select(
        "item_id",
        "path",
        F.col("bytes").alias("_bytes"),
        F.col("modified").alias("_modified"),
        (F.col("width").cast("long") * F.col("height")).alias("_pixels"),
    )
    suffix = F.lower(F.element_at(F.split(F.col("path"), r"\."), -1))
    listed = files.select("path", "bytes", "modified")
    matched = (
        references.join(listed, "path", "full")
        .where(F.col("item_id").isNotNull() | suffix.isin(*config.suffixes))
        .join(old, ["item_id", "path"], "left")
    )
    reason = (
        F.when(F.col("bytes").isNull(), "missing_file")
        .when(F.col("item_id").isNull(), "unknown_item")
        .when(F.col("bytes") == 0, "empty_file")
        .when(F.col("bytes") > config.max_bytes, "too_large")
    )
    message = (
        F.when(
            reason == "missing_file",
            "The catalogue names this picture, but there is no such file below ingest.images.path "
            "(files and folders whose names begin with _ or . are not looked at).",
        )
        .when(reason == "unknown_item", "No accepted catalogue record names this picture.")
        .when(reason == "empty_file", "The file has no bytes: copy it again.")
        .when(
            reason == "too_large",
            f"The file has more than {config.max_bytes} bytes (ingest.images.max_bytes).",
        )
    )
    known = (
        (F.col("bytes") == F.col("_bytes"))
        & (F.col("modified") == F.col("_modified"))
        & (F.col("_pixels") <= config.max_pixels)
    )
    return matched.select(
        "item_id",
        "path",
        "bytes",
        "modified",
        F.coalesce(known, F.lit(False)).alias("known"),
        reason.alias("reason"),
        message.alias("message"),
    )


def decode_check(pictures: DataFrame, max_pixels: int) -> DataFrame:
    """`pictures` with `sha256`, `width`, `height`, `format`, `reason`, `message` from their `content` (binary).

    Every picture is decoded whole. Refused: empty_file, not_an_image, truncated, decompression_bomb,
    undecodable.
    """

    @F.pandas_udf(_VERDICT)  # type: ignore[call-overload]
    def inspect(content: pd.Series) -> pd.DataFrame:
        return pd.DataFrame([_verdict(one, max_pixels) for one in content], columns=_VERDICT.names)

    return (
        pictures.withColumn("_seen", inspect("content"))
        .withColumns({name: F.col(f"_seen.{name}") for name in _VERDICT.names})
        .withColumn("sha256", F.sha2("content", 256))
        .drop("_seen")
    )


def refused_images(judged: DataFrame) -> DataFrame:
    """Judged references and files with `_record` (the path) as `quarantined` wants it."""
    return judged.select("item_id", "reason", "message", F.col("path").alias(RAW))


def _verdict(
    content: bytes, max_pixels: int
) -> tuple[int | None, int | None, str | None, str | None, str | None]:
    try:
        info = inspect_image(content, max_pixels=max_pixels)
    except ImageRefused as refused:
        return None, None, None, refused.reason, refused.message
    return info.width, info.height, info.format, None, None


def _qualified(spark: SparkSession, root: str) -> str:
    try:
        path, system = located(spark, root)
        found = system.exists(path)
    except Py4JJavaError as error:
        if not says_the_input(error):
            raise
        raise InputError(f"ingest.images.path: cannot look into {root}: {last_cause(error)}") from error
    if not found:
        raise InputError(f"ingest.images.path: there is no folder {root}.")
    if not system.getFileStatus(path).isDirectory():
        raise InputError(f"ingest.images.path: {root} is a file; name the folder that holds the pictures.")
    return str(system.makeQualified(path).toString()).rstrip("/")
