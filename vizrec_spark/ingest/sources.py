"""Reads landing files as text columns, so that nothing is lost before it is judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, DoubleType, FloatType, StringType, StructField, StructType

from vizrec_spark.config.models import SourceConfig
from vizrec_spark.errors import InputError

RAW = "_record"
MALFORMED = "_malformed"

# Tabs, line ends and the blanks of all scripts, and a byte order mark.
_OUTER_BLANKS = r"(?U)^[\s\ufeff]++|(?<![\s\ufeff])[\s\ufeff]++$"


def read_source(
    spark: SparkSession, source: SourceConfig, columns: Iterable[str], section: str, separator: str = "|"
) -> DataFrame:
    """The columns named in `columns` as strings, with `_record` and `_malformed`.

    `_record` (string) is the whole raw record as JSON, or the raw line where it could not be parsed;
    `_malformed` (boolean) marks those. Blank strings come as null, whole floating-point numbers without ``.0``
    (an id column that met a null in pandas), lists as their elements joined by `separator`, anything else as
    Spark prints it.

    Raises: InputError when the files or a named column are missing; `section` is the configuration's key.
    """
    try:
        with readable_input():
            raw = _read(spark, source)
    except (AnalysisException, InputError) as error:
        raise InputError(
            f"{section}.path: cannot read {source.path} as {source.format}: {str(error).splitlines()[0]}"
        ) from None
    except Py4JJavaError as error:
        # Nothing but the input has been touched yet: no connector for its file system, no access, no such host.
        raise InputError(
            f"{section}.path: cannot read {source.path} as {source.format}: {_last_cause(error)}"
        ) from error
    found = [name for name in raw.columns if name != MALFORMED]
    wanted = list(dict.fromkeys(columns))
    missing = [name for name in wanted if name not in found]
    if missing:
        raise InputError(
            f"{section}: {source.path} has no column {', '.join(map(repr, missing))}; "
            + (f"it has {', '.join(map(repr, found))}. " if found else "it is empty. ")
            + _advice(source, found, section)
        )
    return text_columns(raw, wanted, separator)


def text_columns(raw: DataFrame, wanted: Sequence[str], separator: str = "|") -> DataFrame:
    """The columns `wanted` of parsed records as text, with `_record` and `_malformed`: see `read_source`.

    `raw` has a column `_malformed` (string) where its reader knows records that could not be parsed.
    """
    found = [name for name in raw.columns if name != MALFORMED]
    record = F.to_json(F.struct(*(F.col(quoted(name)) for name in found)), {"ignoreNullFields": "false"})
    malformed = F.col(MALFORMED).isNotNull() if MALFORMED in raw.columns else F.lit(False)
    original = F.col(MALFORMED) if MALFORMED in raw.columns else F.lit(None).cast("string")
    return raw.select(
        *(as_text(name, raw.schema[name].dataType, separator).alias(name) for name in wanted),
        F.when(malformed, original).otherwise(record).alias(RAW),
        malformed.alias(MALFORMED),
    )


def _advice(source: SourceConfig, found: Sequence[str], section: str) -> str:
    if source.format == "csv" and any("\ufffd" in name or "\0" in name for name in found):
        return f'It is not UTF-8 text: name its encoding, as {section}.options: {{encoding: "UTF-16"}}.'
    separator = (
        next((sign for sign in (";", "\t", "|", ",") if sign in found[0]), None) if len(found) == 1 else None
    )
    if source.format == "csv" and separator is not None:
        shown = separator.replace("\t", "\\t")
        return f'Its columns seem to be separated by {shown!r}: set {section}.options: {{sep: "{shown}"}}.'
    return f"Set {section}.columns to the names in the file (null for what it does not have)."


def _last_cause(error: Py4JJavaError) -> str:
    cause = error.java_exception
    while cause.getCause() is not None:
        cause = cause.getCause()
    return f"{cause.getClass().getSimpleName()}: {' '.join((cause.getMessage() or '').split())[:400]}"


@contextmanager
def readable_input() -> Iterator[None]:
    """A landing file that Spark cannot read on, found before or while rows flow, becomes an InputError."""
    try:
        yield
    except Py4JJavaError as error:
        cause, unreadable, texts = error.java_exception, False, []
        while cause is not None:
            text = cause.getMessage() or ""
            unreadable = unreadable or "FAILED_READ_FILE" in text
            texts.append(" ".join(text.split()))
            cause = cause.getCause()
        if not unreadable:
            raise
        first = next(text for text in texts if "FAILED_READ_FILE" in text)
        last = texts[-1] if texts[-1] not in first else ""
        raise InputError(f"{first[first.index('[') :][:400]} {last[:400]}".rstrip()) from error


def _read(spark: SparkSession, source: SourceConfig) -> DataFrame:
    if source.format == "csv":
        # RFC 4180: a quote inside a quoted field is doubled; Spark's default is a backslash.
        options = {
            "header": "true",
            "escape": '"',
            "mode": "PERMISSIVE",
            "columnPruning": "false",
            # A quoted title may hold line breaks. It costs the splitting of large files: see conf/base.yml.
            "multiLine": "true",
            **source.options,
        }
        first = spark.read.options(**options).csv(source.path)
        if len(first.inputFiles()) > 1:
            # Files with the same columns in another order must not be read by position. (One file alone may
            # have nameless or repeated columns, which this check would refuse.)
            options = {"enforceSchema": "false", **options}
        schema = StructType([*first.schema.fields, StructField(MALFORMED, StringType())])
        return (
            spark.read.options(**options, columnNameOfCorruptRecord=MALFORMED).schema(schema).csv(source.path)
        )
    if source.format == "json":
        options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": MALFORMED, **source.options}
        schema = spark.read.options(**options).json(source.path).schema
        if MALFORMED not in schema.names:
            schema = StructType([*schema.fields, StructField(MALFORMED, StringType())])
        return spark.read.options(**options).schema(schema).json(source.path)
    return spark.read.format(source.format).options(**source.options).load(source.path)


def as_text(name: str, kind: DataType, separator: str = "|") -> F.Column:
    """The column as trimmed text, null where that is empty: see `read_source`."""
    value = F.col(quoted(name))
    text = value.cast("string")
    if isinstance(kind, ArrayType):
        text = F.array_join(value.cast("array<string>"), separator)
    elif isinstance(kind, DoubleType | FloatType):
        # By way of the shortest text, so that a 32-bit 4.1 does not become 4.099999905.
        plain = F.regexp_replace(text.try_cast("decimal(38,9)").cast("string"), r"\.?0+$", "")
        text = F.coalesce(plain, text)  # NaN and infinities have no decimal
    return F.nullif(F.regexp_replace(text, _OUTER_BLANKS, ""), F.lit(""))


def quoted(name: str) -> str:
    """A column's name as Spark takes it literally, dots and backticks and all."""
    return f"`{name.replace('`', '``')}`"
