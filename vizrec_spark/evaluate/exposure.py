"""Coverage and Gini: metrics of all lists of a model together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.evaluate.metrics import coverage, gini

_SCHEMA = "model string, metric string, value double"


def exposure_metrics(
    judged: DataFrame, models: Sequence[str], cutoffs: Sequence[int], n_items: int
) -> DataFrame:
    """`model`, `metric` (``coverage@k`` and ``gini@k``), `value`, over the lists of all judged users.

    judged: see `judged_users`; n_items: how many items could be recommended. One task holds the counts of a model,
    8 bytes an item and cutoff.
    """
    deepest = max(cutoffs)
    lists = judged.select(F.posexplode("lists").alias("_model", "_items"))
    shown = lists.select("_model", F.posexplode(F.slice("_items", 1, deepest)).alias("_place", "item_id"))
    counts = [F.count_if(F.col("_place") < k).alias(f"at_{k}") for k in cutoffs]
    exposures = shown.groupBy("_model", "item_id").agg(*counts)
    named = exposures.withColumn("model", F.element_at(F.array(*map(F.lit, models)), F.col("_model") + 1))
    return named.groupBy("model").applyInPandas(partial(_metrics, tuple(cutoffs), n_items), _SCHEMA)


def _metrics(cutoffs: tuple[int, ...], n_items: int, rows: pd.DataFrame) -> pd.DataFrame:
    told = [
        (str(rows["model"].iloc[0]), f"{name}@{k}", measure(rows[f"at_{k}"].to_numpy(), n_items))
        for name, measure in (("coverage", coverage), ("gini", gini))
        for k in cutoffs
    ]
    return pd.DataFrame(told, columns=["model", "metric", "value"])
