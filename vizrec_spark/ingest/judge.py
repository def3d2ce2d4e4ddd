"""How a record is judged: the first rule it breaks gives its reason; every record is accepted or quarantined."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from vizrec_spark.ingest.sources import MALFORMED, RAW
from vizrec_spark.tables.reasons import BY_CODE

# Possessive, so that many digits and then a letter are looked at once.
_DECIMAL = r"^[+-]?+(\d++(\.\d*+)?+|\.\d++)([eE][+-]?+\d++)?+$"

Rule = tuple[str, Column, Column | str]
"""Reason code, condition under which a record is refused, message (a column or plain text)."""


def judge(df: DataFrame, rules: Sequence[Rule]) -> DataFrame:
    """`df` with `reason` and `message` (both null for an accepted record) by the first rule that holds.

    Raises: KeyError for a reason code that `vizrec_spark.tables.reasons` does not explain.
    """
    reason = F.lit(None).cast("string")
    message = F.lit(None).cast("string")
    for code, refused, text in reversed(rules):
        broken = F.coalesce(refused, F.lit(False))
        reason = F.when(broken, F.lit(BY_CODE[code].code)).otherwise(reason)
        message = F.when(broken, F.lit(text) if isinstance(text, str) else text).otherwise(message)
    return df.withColumns({"reason": reason, "message": message})


def malformed() -> Rule:
    """The rule for a record that could not be parsed."""
    text = (
        "The record does not have the file's columns or is not valid in its format: repair it at the source "
        "(for CSV look at quotes, and at the reader's `options`)."
    )
    spans = F.concat(
        F.lit("The record spans "),
        line_breaks() + 1,
        F.lit(
            " lines and is not valid: a quote that is never closed takes in the lines after it. Repair it there."
        ),
    )
    return "malformed_record", F.col(MALFORMED), F.when(line_breaks() > 0, spans).otherwise(F.lit(text))


def line_breaks() -> Column:
    """How many line breaks the raw record holds: int."""
    return F.size(F.split(F.col(RAW), r"\n")) - 1


def badly_encoded() -> Rule:
    """The rule for a record with bytes that are no text in the file's encoding (Spark reads them as U+FFFD)."""
    text = (
        "The record has bytes that are no text in the file's encoding: save the file as UTF-8, or name its encoding "
        "in `options`."
    )
    return "bad_encoding", F.contains(F.col(RAW), F.lit("\ufffd")), text


def refuse_repeated(
    judged: DataFrame, key: Sequence[str], what: str, fullness: Column | None = None
) -> DataFrame:
    """Refuses all but one of the accepted records that share `key`.

    The one of the largest `fullness` (a number) stays, of equal ones that whose raw record sorts first. The choice
    does not depend on the order of the input, so that a repeated run makes the same one.
    """
    order = [F.col(RAW)] if fullness is None else [fullness.desc(), F.col(RAW)]
    # Refused records may have no key at all: without a share of their own they would all meet in one task.
    refused = F.when(F.col("reason").isNotNull(), F.xxhash64(RAW))
    accepted_first = Window.partitionBy(*key, refused).orderBy(*order)
    repeated = F.col("reason").isNull() & (F.row_number().over(accepted_first) > 1)
    text = F.concat(
        F.lit(f"Another {what} with the same key ("), F.concat_ws(", ", *key), F.lit(") was accepted.")
    )
    return judged.withColumns(
        {
            "reason": F.when(repeated, F.lit("duplicate_key")).otherwise(F.col("reason")),
            "message": F.when(repeated, text).otherwise(F.col("message")),
        }
    )


def accepted(judged: DataFrame) -> DataFrame:
    """The records without a reason."""
    return judged.where(F.col("reason").isNull())


def quarantined(judged: DataFrame, source: str, key: Column, stage: str = "ingest") -> DataFrame:
    """The refused records as rows of the table `quarantine`."""
    return judged.where(F.col("reason").isNotNull()).select(
        F.lit(stage).alias("stage"),
        F.lit(source).alias("source"),
        "reason",
        "message",
        key.alias("key"),
        F.col(RAW).alias("record"),
    )


def number(name: str) -> Column:
    """The text column `name` as a double; null where it is not a decimal number.

    NaN and infinities are no numbers here, nor is what only Java reads as one (``5d``, ``0x1p3``).
    """
    value = F.when(F.col(name).rlike(_DECIMAL), F.col(name)).try_cast("double")
    return F.when(F.abs(value) < float("inf"), value)


def instant(name: str, unit: str, earliest: str = "1971-01-01") -> Column:
    """The text column `name` as a timestamp: plain numbers count `unit`, anything else is ISO 8601.

    `unit` is `epoch_s`, `epoch_ms` or `iso` (numbers refused). A whole number of 18 or 19 digits counts nanoseconds
    whatever the unit: so Spark reads the timestamps that pandas writes to Parquet. Null where it cannot be read, or
    lies outside `earliest` (numbers: 1971-01-01) to 2100-01-01: that catches milliseconds given as seconds, seconds
    given as milliseconds, dates such as 20240531 given as seconds, and zeros given for unknown.
    """
    digits = F.col(name).rlike(r"^[+-]?\d+(\.\d+)?$")
    factor = F.lit({"epoch_s": 1_000_000, "epoch_ms": 1_000, "iso": 0}[unit])
    # Each step may overflow on garbage, which must give null and not end the job.
    micros = F.try_multiply(F.col(name).try_cast("decimal(38,6)"), factor).try_cast("bigint")
    nanos = F.col(name).rlike(r"^\d{18,19}$")
    micros = F.when(nanos, F.expr(f"try_cast(`{name}` AS bigint) div 1000")).otherwise(micros)
    since_epoch = F.timestamp_micros(
        F.when(micros.between(31_536_000_000_000, 4_102_444_800_000_000), micros)
    )
    iso = F.when(F.col(name).rlike(r"^\d{4}-\d{2}-\d{2}"), F.col(name)).try_cast("timestamp")
    in_range = iso.between(F.lit(earliest).cast("timestamp"), F.lit("2100-01-01").cast("timestamp"))
    counted = nanos if unit == "iso" else F.lit(True)
    return F.when(digits, F.when(counted, since_epoch)).otherwise(F.when(in_range, iso))
