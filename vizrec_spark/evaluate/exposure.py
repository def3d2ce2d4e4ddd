"""Coverage and Gini: metrics of all lists of a model together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import Broadcast
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.evaluate.facts import ItemFacts
from vizrec_spark.evaluate.metrics import coverage, gini

_SCHEMA = "model string, metric string, value double"


def exposure_metrics(
    judged: DataFrame, models: Sequence[str], cutoffs: Sequence[int], facts: Broadcast[ItemFacts]
) -> DataFrame:
    """`model`, `metric` (``coverage@k`` and ``gini@k``), `value`, over the lists of all judged users.

    judged: see `judged_users`. What is no candidate does not count; a model that shows no candidate to anybody has
    coverage 0 and no Gini (NaN). One task holds the counts of a model, 8 bytes an item and cutoff beside its id.
    """
    deepest = max(cutoffs)
    lists = judged.select(F.posexplode("lists").alias("_model", "_items"))
    shown = lists.select("_model", F.posexplode(F.slice("_items", 1, deepest)).alias("_place", "item_id"))
    counts = [F.count_if(F.col("_place") < k).alias(f"at_{k}") for k in cutoffs]
    exposures = shown.groupBy("_model", "item_id").agg(*counts)
    # A row of nothing for each model, so that one without lists is told of too.
    nothing = judged.sparkSession.createDataFrame(
        [(i, None, *(0 for _ in cutoffs)) for i in range(len(models))], exposures.schema
    )
    named = exposures.unionByName(nothing).withColumn(
        "model", F.element_at(F.array(*map(F.lit, models)), F.col("_model") + 1)
    )
    return named.groupBy("model").applyInPandas(partial(_metrics, tuple(cutoffs), facts), _SCHEMA)


def _metrics(cutoffs: tuple[int, ...], facts: Broadcast[ItemFacts], rows: pd.DataFrame) -> pd.DataFrame:
    offered = rows[offered_items(facts.value, rows["item_id"])]
    n_items = int(facts.value.candidate.sum())
    told = [
        (str(rows["model"].iloc[0]), f"{name}@{k}", measure(offered[f"at_{k}"].to_numpy(np.int64), n_items))
        for name, measure in (("coverage", coverage), ("gini", gini))
        for k in cutoffs
    ]
    return pd.DataFrame(told, columns=["model", "metric", "value"])


def offered_items(facts: ItemFacts, ids: pd.Series) -> NDArray[np.bool_]:
    """Which of some item ids (null among them) are candidates."""
    place = facts.positions(pa.array(ids, pa.string()))
    return (place >= 0) & facts.candidate[np.maximum(place, 0)]
