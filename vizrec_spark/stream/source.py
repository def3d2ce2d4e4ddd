"""Where live events come from: a folder of files, a Delta table or a Kafka topic, all as text that is judged later."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from vizrec_spark.config.models import StreamConfig
from vizrec_spark.errors import ConfigError, InputError
from vizrec_spark.ingest.interactions import interaction_columns
from vizrec_spark.ingest.sources import MALFORMED, RAW, as_text, quoted, text_columns

EVENT_ID: Final = "_event_id"
ARRIVED_AT: Final = "_arrived_at"
KAFKA_PACKAGE: Final = "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0"

_TEXT: Final = "_text"


def live_events(spark: SparkSession, config: StreamConfig) -> DataFrame:
    """A streaming frame of raw records, as `ingest.sources.read_source` gives them, each event once.

    Beside the columns of `config.columns` as text, `_record` and `_malformed` it has `_event_id` (string; a hash of
    the text where the event brings none) and `_arrived_at` (timestamp of the micro-batch). An id that comes again with
    the same text within `config.remember_minutes` is left out; the clock is that of arrival, so no event is too late
    for it.

    Raises: ConfigError for a secret or a connector that is missing, InputError for a path that cannot be read.
    """
    try:
        raw = _text(spark, config) if config.source == "kafka" or _is_lines(config) else _typed(spark, config)
    except AnalysisException as error:
        told = " ".join(str(error).split())[:300]
        if config.source == "kafka":
            raise ConfigError(
                f"stream.source = kafka: {told} Start the job with `spark-submit --packages {KAFKA_PACKAGE} ...`."
            ) from None
        raise InputError(f"stream.path: cannot read {config.path} as {config.source}: {told}") from None
    own = config.columns.event_id
    text_id = F.sha2(F.col(RAW), 256)
    event_id = text_id if own is None else F.coalesce(F.col(quoted(own)), text_id)
    return (
        raw.withColumns({EVENT_ID: event_id, ARRIVED_AT: F.current_timestamp(), _TEXT: F.xxhash64(RAW)})
        .withWatermark(ARRIVED_AT, f"{config.remember_minutes} minutes")
        .dropDuplicatesWithinWatermark([EVENT_ID, _TEXT])
        .drop(_TEXT)
    )


def reader_options(config: StreamConfig, environment: Mapping[str, str]) -> dict[str, str]:
    """The source's options with the secrets in, which come from environment variables and stand in no file.

    Raises: ConfigError naming the variables that are not set.
    """
    missing = sorted(set(config.secret_options.values()) - set(environment))
    if missing:
        raise ConfigError(
            f"stream.secret_options: the environment variable {', '.join(missing)} is not set: set it for this job."
        )
    usual = {"maxBytesPerTrigger": str(config.max_bytes_per_batch)}
    if config.source == "folder":
        # Spark passes over files so much older than the newest, without a word: some come late.
        usual |= {"maxFileAge": "365d"}
        if any(name.lower() == "maxfilespertrigger" for name in config.options):
            del usual["maxBytesPerTrigger"]  # the source takes one of the two
    if config.source == "kafka":
        usual = {
            "maxOffsetsPerTrigger": str(config.max_per_batch),
            "kafka.bootstrap.servers": str(config.servers),
            "subscribe": str(config.topic),
            "startingOffsets": "earliest",
        }
    secrets = {option: environment[variable] for option, variable in config.secret_options.items()}
    return {**usual, **config.options, **secrets}


def _is_lines(config: StreamConfig) -> bool:
    return config.source == "folder" and config.format == "json"


def _names(config: StreamConfig) -> list[str]:
    own = config.columns.event_id
    return list(dict.fromkeys([*interaction_columns(config.columns), *([] if own is None else [own])]))


def _text(spark: SparkSession, config: StreamConfig) -> DataFrame:
    """JSON objects, one a line of a file or a message."""
    reader = spark.readStream.options(**reader_options(config, os.environ))
    if config.source == "kafka":
        lines = reader.format("kafka").load().select(F.col("value").cast("string").alias("value"))
    else:
        lines = reader.text(config.path).where(F.trim("value") != "")
    # Bytes that are no UTF-8 as U+FFFD, by which they are known: the parser reads them so, and would let them pass.
    lines = lines.select(F.make_valid_utf8("value").alias("value"))
    names = _names(config)
    schema = StructType([StructField(name, StringType()) for name in (*names, MALFORMED)])
    parsed = F.from_json("value", schema, {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": MALFORMED})
    # The parser takes the first object of a line, and passes over what follows it.
    objects = F.size(F.from_json(F.concat(F.lit("["), "value", F.lit("]")), "array<map<string,string>>"))
    found = lines.select(
        F.coalesce("value", F.lit("")).alias(RAW), parsed.alias("_parsed"), objects.alias("_objects")
    )
    broken = (
        F.col("_parsed").isNull()
        | F.col(f"_parsed.{MALFORMED}").isNotNull()
        | F.coalesce(F.col("_objects") != 1, F.lit(True))
    )
    columns = [F.col("_parsed").getField(name).alias(name) for name in names]
    return found.select(RAW, broken.alias(MALFORMED), *columns).select(
        *(as_text(name, StringType()).alias(name) for name in names), RAW, MALFORMED
    )


def _typed(spark: SparkSession, config: StreamConfig) -> DataFrame:
    """Rows with columns of their own types: a Delta table, or Parquet files like those that are there."""
    reader = spark.readStream.options(**reader_options(config, os.environ))
    if config.source == "delta":
        rows = reader.format("delta").load(config.path)
    else:
        rows = reader.schema(spark.read.parquet(config.path).schema).parquet(config.path)
    missing = [name for name in _names(config) if name not in rows.columns]
    if missing:
        raise InputError(
            f"stream: {config.path} has no column {', '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, rows.columns))}. Set stream.columns to its names (null for what it does not have)."
        )
    return text_columns(rows, _names(config))
