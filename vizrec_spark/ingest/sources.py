"""Reads landing files as text columns, so that nothing is lost before it is judged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, DoubleType, FloatType, StringType, StructField, StructType

from vizrec_spark.config.models import SourceConfig, UsersConfig
from vizrec_spark.errors import InputError
from vizrec_spark.ingest.faults import last_cause, readable_input, says_the_input

RAW = "_record"
MALFORMED = "_malformed"

APART = "\x1f"
"""Stands before each element of a list: ASCII's unit separator."""

# Tabs, line ends and the blanks of all scripts, and a byte order mark.
_OUTER_BLANKS = r"(?U)^[\s\ufeff]++|(?<![\s\ufeff])[\s\ufeff]++$"


def read_source(
    spark: SparkSession,
    source: SourceConfig,
    columns: Iterable[str],
    section: str,
    separator: str = "|",
    lists: Iterable[str | None] = (),
) -> DataFrame:
    """The columns named in `columns` as strings, with `_record` and `_malformed`.

    `_record` (string) is the whole raw record as JSON, or the raw line where it could not be parsed;
    `_malformed` (boolean) marks those. Blank strings come as null, whole floating-point numbers without ``.0``
    (an id column that met a null in pandas), lists as their elements joined by `separator`, anything else as
    Spark prints it; NaN, by which pandas means that there is nothing, as null. Of the columns in `lists`, those that
    are lists have `APART` before each element instead, so that an element may hold the separator.

    Raises: InputError when the files or a named column are missing, or the files cannot be parsed; `section` is the
    configuration's key. What else Spark meets goes through as it is.
    """
    try:
        with readable_input():
            raw = _read(spark, source)
    except (AnalysisException, InputError) as error:
        raise InputError(
            f"{section}.path: cannot read {source.path} as {source.format}: {str(error).splitlines()[0]}"
        ) from None
    except Py4JJavaError as error:
        if not says_the_input(error):
            raise
        raise InputError(
            f"{section}.path: cannot read {source.path} as {source.format}: {last_cause(error)}"
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
    return text_columns(raw, wanted, separator, frozenset(lists))


def text_columns(
    raw: DataFrame, wanted: Sequence[str], separator: str = "|", lists: Set[str | None] = frozenset()
) -> DataFrame:
    """The columns `wanted` of parsed records as text, with `_record` and `_malformed`: see `read_source`.

    `raw` has a column `_malformed` (string) where its reader knows records that could not be parsed.
    """
    found = [name for name in raw.columns if name != MALFORMED]
    record = F.to_json(F.struct(*(F.col(quoted(name)) for name in found)), {"ignoreNullFields": "false"})
    malformed = F.col(MALFORMED).isNotNull() if MALFORMED in raw.columns else F.lit(False)
    original = F.col(MALFORMED) if MALFORMED in raw.columns else F.lit(None).cast("string")
    return raw.select(
        *(
            as_text(name, raw.schema[name].dataType, None if name in lists else separator).alias(name)
            for name in wanted
        ),
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
    if isinstance(source, UsersConfig):
        named = f"{section}.column" + ("" if source.segment is None else f" and {section}.segment")
        return f"Set {named} to what the file names them."
    return f"Set {section}.columns to the names in the file (null for what it does not have)."


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
        # As the text that stands there: one 1.0 or NaN among long ids would make doubles of all, many of them equal.
        numbers = [field.name for field in schema.fields if isinstance(field.dataType, DoubleType)]
        fields = [
            StructField(f.name, StringType() if f.name in numbers else f.dataType) for f in schema.fields
        ]
        if MALFORMED not in schema.names:
            fields.append(StructField(MALFORMED, StringType()))
        read = spark.read.options(**options).schema(StructType(fields)).json(source.path)
        return read.withColumns({name: _plain(F.col(quoted(name))) for name in numbers})
    return spark.read.format(source.format).options(**source.options).load(source.path)


def _plain(text: F.Column) -> F.Column:
    """A number as JSON has it, without ``.0`` and exponent; null for NaN, pandas' word for nothing."""
    bare = F.regexp_replace(text, '"', "")  # Spark quotes NaN and infinities
    # A decimal of a huge exponent would take minutes to make.
    usual = F.when(bare.rlike(r"^[+-]?\d{1,29}(\.\d*+)?+([eE][+-]?\d{1,3})?$"), bare)
    return F.when(bare != "NaN", F.coalesce(_shortest(usual), bare))


def _shortest(text: F.Column) -> F.Column:
    """A number of at most 29 digits before the point, and 9 behind it, at its shortest; null for anything else."""
    return F.regexp_replace(text.try_cast("decimal(38,9)").cast("string"), r"\.?0+$", "")


def as_text(name: str, kind: DataType, separator: str | None = "|") -> F.Column:
    """The column as trimmed text, null where that is empty: see `read_source`. Without `separator` lists stay apart."""
    value = F.col(quoted(name))
    text = value.cast("string")
    if isinstance(kind, ArrayType):
        elements = value.cast("array<string>")
        apart = F.concat(F.lit(APART), F.array_join(elements, APART))
        text = apart if separator is None else F.array_join(elements, separator)
    elif isinstance(kind, DoubleType | FloatType):
        # By way of the shortest text, so that a 32-bit 4.1 does not become 4.099999905.
        text = F.when(~F.isnan(value), F.coalesce(_shortest(text), text))  # infinities have no decimal
    return F.nullif(trimmed(text), F.lit(""))


def trimmed(text: F.Column) -> F.Column:
    """`text` without the blanks, of whatever script, around it."""
    return F.regexp_replace(text, _OUTER_BLANKS, "")


def quoted(name: str) -> str:
    """A column's name as Spark takes it literally, dots and backticks and all."""
    return f"`{name.replace('`', '``')}`"
