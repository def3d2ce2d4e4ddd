"""Which records of runs stand: those whose tables nobody has taken back since."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

_GONE = "_run_id string, _stage string, _at long"


def standing(runs: DataFrame, restores: DataFrame) -> DataFrame:
    """The rows of table `runs` without those that table `restores` says were taken back after they ended.

    A restore that was itself taken back, by one that counts, counts for nothing, and a run that ended again after the
    restore stands. Runs a job over `restores`, of which there are few.
    """
    done = restores.where("event = 'done'").select("run_id", F.unix_micros("at").alias("at"), "takes_back")
    gone, undone = [], set()
    for restore in sorted(done.collect(), key=lambda row: row.at, reverse=True):
        if restore.run_id in undone:
            continue
        gone += [(unit.run_id, unit.stage, restore.at) for unit in restore.takes_back]
        undone |= {unit.run_id for unit in restore.takes_back if unit.stage == "restore"}
    if not gone:
        return runs
    same = (F.col("run_id") == F.col("_run_id")) & (F.col("stage") == F.col("_stage"))
    before = F.unix_micros("finished_at") <= F.col("_at")
    return runs.join(F.broadcast(runs.sparkSession.createDataFrame(gone, _GONE)), same & before, "left_anti")
