"""Labels of pictures, from what the catalogue says of their items."""

from __future__ import annotations

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, StringType

from vizrec_spark.config.models import LabelsConfig
from vizrec_spark.errors import ConfigError, LabelError

PARTS = ("train", "validation", "test")


def labelled_pictures(items: DataFrame, images: DataFrame, config: LabelsConfig) -> DataFrame:
    """The distinct pictures of items that have a label.

    items: item_id and the columns that `config.label` and `config.part` speak of; images: item_id, sha256.
    Returns sha256 string, labels array<string> (distinct, in order, at least one), parts array<string> (distinct;
    empty where the catalogue does not say), several boolean (whether `config.label` gives arrays). A picture of several
    items has the labels and parts of all of them.
    Raises: ConfigError for an expression that cannot be read, or gives neither text nor an array of texts.
    """
    label, several = _labels(items, config.label)
    part = F.lit(None).cast("string") if config.part is None else _part(items, config.part)
    known = items.select("item_id", label.alias("labels"), part.alias("part")).where(F.size("labels") > 0)
    pictures = images.select("item_id", "sha256").join(known, "item_id")
    return pictures.groupBy("sha256").agg(
        F.array_sort(F.array_distinct(F.flatten(F.collect_list("labels")))).alias("labels"),
        F.array_sort(F.collect_set("part")).alias("parts"),
        F.lit(several).alias("several"),
    )


def _labels(items: DataFrame, expression: str):  # type: ignore[no-untyped-def]
    """The labels as an array without nulls and empty texts, and whether the expression gives several."""
    kind = _type_of(items, expression, "adapt.labels.label")
    several = isinstance(kind, ArrayType)
    value = F.expr(expression)
    array = F.coalesce(value, F.array().cast("array<string>")) if several else F.array(value)
    return F.filter(array, lambda text: text.isNotNull() & (F.trim(text) != "")), several


def _part(items: DataFrame, expression: str):  # type: ignore[no-untyped-def]
    if isinstance(_type_of(items, expression, "adapt.labels.part"), ArrayType):
        raise ConfigError(
            f"adapt.labels.part = {expression!r} gives an array; expected one of {', '.join(PARTS)}."
        )
    return F.lower(F.trim(F.expr(expression)))


def _type_of(items: DataFrame, expression: str, key: str) -> StringType | ArrayType:
    try:
        kind = items.select(F.expr(expression).alias("value")).schema["value"].dataType
    except (AnalysisException, ParseException) as error:
        told = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{key} = {expression!r} cannot be read as SQL over the columns of table items: {told}"
        ) from None
    texts = isinstance(kind, StringType) or (
        isinstance(kind, ArrayType) and isinstance(kind.elementType, StringType)
    )
    if not texts:
        raise ConfigError(
            f"{key} = {expression!r} is {kind.simpleString()}; expected a text or an array of texts."
        )
    return kind  # type: ignore[return-value]


def one_part(parts: list[str]) -> str | None:
    """The part of a picture: of several the last, so that nothing that is judged is learned; None: not said.

    Raises: LabelError for another word.
    """
    if unknown := sorted(set(parts) - set(PARTS)):
        raise LabelError(
            f"adapt.labels.part gives {unknown[0]!r}; expected one of {', '.join(PARTS)}, or null."
        )
    return max(parts, key=PARTS.index) if parts else None
