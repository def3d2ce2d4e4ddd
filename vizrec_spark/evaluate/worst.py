"""The lists that are worst by a metric: whom a model serves badly, with what was offered and what was missed."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from vizrec_spark.evaluate.metrics import LOWER_IS_BETTER, metric_names
from vizrec_spark.evaluate.per_user import ALL

JUDGED_BY = ("ndcg", "diversity", "miscalibration")
"""By these: what a list misses, whether it is all the same, and whether it is not what the user goes for."""

WORST, SHOWN = 10, 10
"""Users of each model and metric, and items of each list."""


def worst_lists(
    users: DataFrame, values: DataFrame, models: Sequence[str], cutoffs: Sequence[int]
) -> DataFrame:
    """The columns of table `worst_lists` but `run_id` and `protocol`: the `WORST` users of each model and metric.

    users: see `judged_users`; values: see `user_values`. The metrics are those of `JUDGED_BY` at a list length of 10,
    or the shortest. Of users with the same value those come first who met most items afterwards, then by a hash of
    the id.
    """
    names, k = metric_names(cutoffs), 10 if 10 in cutoffs else min(cutoffs)
    wanted = [f"{name}@{k}" for name in JUDGED_BY]
    each = [
        F.struct(
            F.lit(i).alias("list"),
            F.lit(model).alias("model"),
            F.lit(metric).alias("metric"),
            F.get("values", F.lit(i * len(names) + names.index(metric))).alias("value"),
            F.lit(1.0 if metric.partition("@")[0] in LOWER_IS_BETTER else -1.0).alias("sign"),
        )
        for i, model in enumerate(models)
        for metric in wanted
    ]
    counted = users.select("user_id", F.size("relevant").cast("long").alias("n_relevant"))
    every = values.where(F.col("slice") == ALL).select("user_id", "n_known", F.array(*each).alias("each"))
    said = every.join(counted, "user_id").select(
        "user_id", "n_known", "n_relevant", F.explode("each").alias("of")
    )
    order = Window.partitionBy("of.model", "of.metric").orderBy(
        (F.col("of.value") * F.col("of.sign")).desc(), F.desc("n_relevant"), F.xxhash64("user_id"), "user_id"
    )
    placed = said.where(~F.isnan("of.value")).withColumn("place", F.row_number().over(order))
    few = placed.where(F.col("place") <= WORST).select("user_id", "n_known", "n_relevant", "place", "of.*")
    full = users.select("user_id", "relevant", "lists").join(F.broadcast(few), "user_id")
    offered = F.get("lists", F.col("list"))
    found = F.filter(
        F.transform("relevant", lambda item: F.array_position(offered, item)), lambda place: place > 0
    )
    return full.select(
        "model",
        "metric",
        "place",
        "user_id",
        "value",
        F.col("n_known").cast("long").alias("n_known"),
        "n_relevant",
        F.array_min(found).cast("int").alias("first_hit"),
        F.array_compact(F.slice(offered, 1, SHOWN)).alias("offered"),  # lists of others may hold nulls
        F.slice(F.array_except("relevant", F.slice(offered, 1, k)), 1, SHOWN).alias("missed"),
    )
