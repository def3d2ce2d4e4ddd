"""Which records of runs stand: those whose tables nobody has taken back since."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def standing(runs: DataFrame, restores: DataFrame) -> DataFrame:
    """The rows of table `runs` without those that table `restores` says were taken back after they ended.

    A restore that was itself taken back counts for nothing, and a run that ended again after the restore stands.
    """
    done = restores.where("event = 'done'").select("run_id", "at", F.explode("takes_back").alias("unit"))
    undone = done.where("unit.stage = 'restore'").select(F.col("unit.run_id").alias("run_id"))
    gone = done.join(undone, "run_id", "left_anti").select(
        F.col("unit.run_id").alias("_run_id"), F.col("unit.stage").alias("_stage"), F.col("at").alias("_at")
    )
    same = (F.col("run_id") == F.col("_run_id")) & (F.col("stage") == F.col("_stage"))
    return runs.join(F.broadcast(gone), same & (F.col("finished_at") <= F.col("_at")), "left_anti")
