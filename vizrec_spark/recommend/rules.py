"""Rules over the catalogue as SQL predicates: what may be offered, and what is pushed."""

from __future__ import annotations

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import RerankConfig
from vizrec_spark.errors import ConfigError


def with_rules(items: DataFrame, config: RerankConfig) -> DataFrame:
    """`items` with `allowed` (boolean: every rule holds; one that is null does not) and `boost` (double: the sum of
    those whose predicate holds).

    Raises: ConfigError naming the predicate that Spark cannot read or that is not a condition.
    """
    allowed: Column = F.lit(True)
    for rule in config.rules:
        _check(items, rule, "recommend.rerank.rules")
        allowed = allowed & F.coalesce(F.expr(rule), F.lit(False))
    boost: Column = F.lit(0.0)
    for pushed in config.boosts:
        _check(items, pushed.where, "recommend.rerank.boosts")
        boost = boost + F.when(F.expr(pushed.where), F.lit(pushed.add)).otherwise(0.0)
    return items.withColumn("allowed", allowed).withColumn("boost", boost)


def _check(items: DataFrame, predicate: str, key: str) -> None:
    try:
        # Beside a column, so that an aggregate over all items is refused as well.
        kind = (
            items.select("item_id", F.expr(predicate).alias("holds")).schema["holds"].dataType.simpleString()
        )
    except (AnalysisException, ParseException) as error:
        line = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"{key}: {predicate!r} is no condition over the columns {', '.join(items.columns)}: {line}"
        ) from error
    if kind != "boolean":
        raise ConfigError(
            f"{key}: {predicate!r} gives {kind}, expected a condition such as price IS NOT NULL AND price < 100."
        )
