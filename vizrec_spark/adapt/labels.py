"""Labels and parts of pictures, from what the catalogue says of their items."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, StringType

from vizrec_spark.config.models import LabelsConfig
from vizrec_spark.errors import ConfigError, LabelError

PARTS = ("train", "validation", "test")


def labelled_pictures(items: DataFrame, images: DataFrame, config: LabelsConfig) -> DataFrame:
    """The distinct pictures of items that have a label.

    items: item_id and the columns that `config.label` and `config.part` speak of; images: item_id, sha256.
    Returns sha256 string, labels array<string> (distinct, in order, at least one), parts array<string> (distinct;
    empty where the catalogue does not say). A picture of several items has the labels and parts of all of them.
    Raises: ConfigError for an expression that cannot be read, or gives neither text nor an array of texts.
    """
    label = _labels(items, config.label)
    part = F.lit(None).cast("string") if config.part is None else _part(items, config.part)
    known = items.select("item_id", label.alias("labels"), part.alias("part")).where(F.size("labels") > 0)
    pictures = images.select("item_id", "sha256").join(known, "item_id")
    return pictures.groupBy("sha256").agg(
        F.array_sort(F.array_distinct(F.flatten(F.collect_list("labels")))).alias("labels"),
        F.array_sort(F.collect_set("part")).alias("parts"),
    )


def gives_several(items: DataFrame, config: LabelsConfig) -> bool:
    """Whether `config.label` gives arrays, so that an item may have several labels. Raises: as `labelled_pictures`."""
    return isinstance(_type_of(items, config.label, "adapt.labels.label"), ArrayType)


def given_parts(parts: pa.ListArray) -> NDArray[np.str_] | None:
    """The part of each picture, (n,): of several the last, so that nothing that is judged is learned; None where no
    picture is given one. parts: n lists of texts.

    Raises: LabelError for another word than the three, or when only some pictures are given a part.
    """
    words = parts.flatten()
    rank = pc.index_in(words, value_set=pa.array(PARTS))
    if rank.null_count:
        unknown = words.filter(pc.is_null(rank))[0].as_py()
        raise LabelError(f"adapt.labels.part gives {unknown!r}; expected one of {', '.join(PARTS)}, or null.")
    last = np.full(len(parts), -1)
    np.maximum.at(last, pc.list_parent_indices(parts).to_numpy(), rank.to_numpy())
    without = int((last < 0).sum())
    if 0 < without < len(last):
        raise LabelError(
            f"adapt.labels.part names a part for {len(last) - without:,} of {len(last):,} labelled pictures: name one "
            "for each, or set it to null, and all are split by adapt.split."
        )
    return None if without else np.array(PARTS)[last]


def _labels(items: DataFrame, expression: str) -> Column:
    """The labels as an array without nulls and empty texts."""
    several = isinstance(_type_of(items, expression, "adapt.labels.label"), ArrayType)
    value = F.expr(expression)
    array = F.coalesce(value, F.array().cast("array<string>")) if several else F.array(value)
    return F.filter(array, lambda text: text.isNotNull() & (F.trim(text) != ""))


def _part(items: DataFrame, expression: str) -> Column:
    if isinstance(_type_of(items, expression, "adapt.labels.part"), ArrayType):
        raise ConfigError(
            f"adapt.labels.part = {expression!r} gives an array; expected one of {', '.join(PARTS)}."
        )
    return F.lower(F.trim(F.expr(expression)))


def _type_of(items: DataFrame, expression: str, key: str) -> DataType:
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
    return kind
